"""Pickles made to do harm are refused; those of numpy, Python 2, chumpy and scipy are read."""

import os
import pickle
import struct

import numpy as np
import pytest
import scipy.sparse

from deformer.safe_pickle import UnsafePickleError, load_pickle


class Call:
    """Pickles as a call of a function, followed by a state where there is one."""

    def __init__(self, function, arguments: tuple, state: object = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


RECONSTRUCT = np.empty(0).__reduce__()[0]
SCALAR = np.float64(0).__reduce__()[0]
FROM_BUFFER = np.zeros(0).__reduce_ex__(5)[0]


def dtype(name: str, *state: object) -> Call:
    return Call(np.dtype, (name, False, True), state or (3, "<", None, None, None, -1, -1, 0))


def array(kind: Call, shape: tuple, content: object, is_fortran: bool = False) -> Call:
    return Call(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, shape, kind, is_fortran, content))


def sparse(**change: object) -> object:
    matrix = scipy.sparse.csc_matrix(np.diag([1.0, 2.0, 3.0]))
    matrix.__dict__.update(change)
    return matrix


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


POINTERS = struct.pack("<4Q", *range(0x4141, 0x4145))
NO_FLAGS = (3, "|", None, None, None, 8, 8, 0)
HIDDEN_OBJECT = (3, "|", None, ("a",), {"a": (dtype("O8"), 0)}, 8, 1, 0)

REFUSED = {
    "objects": np.array([1, None]),
    "objects from raw bytes": array(dtype("O8"), (4,), POINTERS),
    "objects without the flag": array(dtype("O8", *NO_FLAGS), (4,), POINTERS),
    "objects in a field without the flag": array(dtype("V8", *HIDDEN_OBJECT), (4,), POINTERS),
    "scalar of objects": Call(SCALAR, (dtype("O8"), POINTERS[:8])),
    "buffer of objects": Call(FROM_BUFFER, (POINTERS, dtype("O8"), (4,), "C")),
    "structure": np.zeros(2, [("a", "f4"), ("b", "i4")]),
    "subarray": array(dtype("(4,)f8"), (1,), POINTERS),
    "complex": np.zeros(2, complex),
    "dates": np.zeros(2, "M8[s]"),
    "array from a list": array(dtype("f8"), (4,), [1.0, 2.0, 3.0, 4.0]),
    "another class for the array": Call(RECONSTRUCT, (set, (0,), b"b")),
    "dtype that is none": Call(SCALAR, ("f8", POINTERS[:8])),
    "function": Call(os.getenv, ("HOME",)),
    "other sparse matrices": scipy.sparse.csr_matrix(np.eye(2)),
}  # fmt: skip

BROKEN = {
    "the array class, called": Call(np.ndarray, ((1 << 40,),)),
    "content too short": array(dtype("f8"), (5,), POINTERS),
    "content too long": array(dtype("f8"), (3,), POINTERS),
    "product of the shape overflows": array(dtype("f8"), (1 << 62, 4), POINTERS),
    "negative shape": array(dtype("f8"), (-1,), POINTERS),
    "shape of text": array(dtype("f8"), ("4",), POINTERS),
    "empty strings without end": array(dtype("S0"), (1 << 50,), b""),
    "characters that do not exist": array(dtype("U1"), (1,), b"\xff\xff\xff\xff"),
    "array without content": Call(RECONSTRUCT, (np.ndarray, (0,), b"b")),
    "sparse: index too large": sparse(indices=ints(0, 1, 1 << 30)),
    "sparse: index negative": sparse(indices=ints(0, -5, 2)),
    "sparse: columns beyond the data": sparse(indptr=ints(0, 1, 2, 1 << 30)),
    "sparse: columns backwards": sparse(indptr=ints(0, 3, 1, 3)),
    "sparse: columns whose steps overflow": sparse(
        indptr=np.array([0, 2**63 - 1, -(2**63) + 5, 3], np.int64)
    ),
    "sparse: first column not at 0": sparse(indptr=ints(-4, 1, 2, 3)),
    "sparse: columns missing": sparse(indptr=ints(0, 3)),
    "sparse: too large": sparse(_shape=(1 << 40, 3)),
    "sparse: shape of another kind": sparse(_shape=3),
    "sparse: data of text": sparse(data=np.array(["a", "b", "c"])),
    "sparse: data of two axes": sparse(data=np.ones((3, 1))),
    "sparse: fractional indices": sparse(indices=np.array([0.0, 1.0, 2.0])),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_not_plain_is_refused(tmp_path, case, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": REFUSED[case]}, protocol))
    with pytest.raises(UnsafePickleError, match=r"a\.pkl is refused"):
        load_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_together_is_no_crash(tmp_path, case):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": BROKEN[case]}, 2))
    with pytest.raises(ValueError, match="not a whole pickle"):
        load_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "name", [b"chumpy.ch\nCh", b"numpy\ndtype", b"scipy.sparse.csc\ncsc_matrix"]
)
def test_no_pickle_changes_the_reader(tmp_path, name):
    """BUILD with a class where an object belongs would write to the class, for good."""
    state = b"N}X\x07\x00\x00\x00checkedK\x07s\x86"  # (None, {"checked": 7}): by setattr
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02c" + name + b"\n" + state + b"b.")
    with pytest.raises(ValueError, match="not a whole pickle"):
        load_pickle(tmp_path / "a.pkl")


PLAIN = [
    *(np.arange(6).reshape(2, 3).astype(kind) for kind in ("<f8", ">f8", ">i2", "u1", "f4", "?")),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(["", "ä", "long text"]),
    np.array([b"", b"bytes"]),
    np.zeros((0, 3)),
    np.array(1.5),
    np.float64(2.5),
    np.int32(-1),
    np.bool_(True),
    np.str_("text"),
    np.str_(""),
    b"",
    b"\xff",
    {1, 2},
]


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(PLAIN, protocol))
    loaded = load_pickle(tmp_path / "a.pkl")
    for value, expected in zip(loaded, PLAIN, strict=True):
        assert type(value) is type(expected)
        if isinstance(expected, np.ndarray | np.generic):
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value, expected)
        else:
            assert value == expected


@pytest.mark.parametrize("protocol", [2, 5])
def test_a_sparse_matrix_becomes_dense(tmp_path, protocol):
    dense = np.random.default_rng(0).normal(size=(16, 778))
    dense[dense < 1.5] = 0
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(scipy.sparse.csc_matrix(dense), protocol))
    np.testing.assert_array_equal(load_pickle(tmp_path / "a.pkl"), dense)


def test_arrays_anywhere_and_cycles(tmp_path):
    shared = np.arange(3)
    cycle: list = [shared, (shared, [shared])]
    cycle.append(cycle)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(cycle, 2))
    loaded = load_pickle(tmp_path / "a.pkl")
    assert loaded[2] is loaded and loaded[1][0] is loaded[0] is loaded[1][1][0]
    np.testing.assert_array_equal(loaded[0], shared)


def test_bools_are_0_or_1(tmp_path):
    """Other bytes make numpy count more elements than it copies."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(array(dtype("b1"), (3,), b"\x00\x02\xff"), 2))
    loaded = load_pickle(tmp_path / "a.pkl")
    assert loaded.view(np.uint8).tolist() == [0, 1, 1]
