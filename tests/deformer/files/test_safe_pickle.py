"""Pickles made to do harm are refused; those of numpy, Python 2, chumpy and scipy are read."""

import contextlib
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
import scipy.sparse

from deformer.files.safe_pickle import (
    MAX_EXTRA_BYTES,
    UnsafePickleError,
    _ArrayUnpickler,
    load_pickle,
)
from tests.python2 import chumpy_object, python2_pickle


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


def sparse(form: str = "csc", **change: object) -> object:
    matrix = scipy.sparse.csc_matrix(np.diag([1.0, 2.0, 3.0])).asformat(form)
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
    "other sparse matrices": scipy.sparse.lil_matrix(np.eye(2)),
}  # fmt: skip


def selection(**change: object) -> object:
    values = {"a": np.arange(6.0), "idxs": ints(4, 0), "preferred_shape": (2, 1)}
    return chumpy_object("chumpy.reordering", "Select", **{**values, **change})


def circle() -> object:
    selected = selection()
    selected.a = selected
    return selected


CHUMPY = {
    "no attributes": chumpy_object("chumpy.ch", "Ch"),
    "no array": chumpy_object("chumpy.ch", "Ch", x=[1.0, 2.0]),
    "index too large": selection(idxs=ints(6, 0)),
    "index negative": selection(idxs=ints(-1, 0)),
    "index of nothing": selection(a=np.zeros(0)),
    "fractional indices": selection(idxs=np.array([0.0, 1.0])),
    "two axes of indices": selection(idxs=ints(4, 0)[None]),
    "indices that are a mask": selection(idxs=np.ones(6, bool), preferred_shape=(6,)),
    "shape of another size": selection(preferred_shape=(3, 1)),
    "shape to be guessed": selection(preferred_shape=(-1,)),
    "shape that overflows": selection(preferred_shape=(1 << 32, 1 << 32)),
    "no shape": selection(preferred_shape=7),
    "nothing to select from": selection(a=None),
    "selected from itself": circle(),
}

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
    "csr: index too large": sparse("csr", indices=ints(0, 1, 3), _shape=(3, 3)),
    "csr: rows missing": sparse("csr", _shape=(4, 3)),
    "coo: row too large": sparse("coo", coords=(ints(0, 1, 3), ints(0, 1, 2))),
    "coo: column negative": sparse("coo", coords=(ints(0, 1, 2), ints(0, 1, -2))),
    "coo: columns missing": sparse("coo", coords=(ints(0, 1, 2), ints(0, 1))),
    "coo: three axes": sparse("coo", coords=(ints(0, 1, 2),) * 3, _shape=(3, 3, 3)),
    "coo: no places": sparse("coo", coords=None),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_is_not_plain_is_refused(tmp_path, case, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": REFUSED[case]}, protocol))
    with pytest.raises(UnsafePickleError, match=r"a\.pkl is refused"):
        load_pickle(tmp_path / "a.pkl")


NO_PICKLES = {
    **{case: pickle.dumps({"x": value}, 2) for case, value in BROKEN.items()},
    **{f"chumpy: {case}": python2_pickle({"x": value}) for case, value in CHUMPY.items()},
    "unknown operation": b"\x80\x02\x00\x00",  # python's message is a bare number
    "text that is no operation": b"\x80\x02{abc",
}


@pytest.mark.parametrize("case", NO_PICKLES)
def test_what_does_not_fit_together_is_no_crash(tmp_path, case):
    (tmp_path / "a.pkl").write_bytes(NO_PICKLES[case])
    with pytest.raises(ValueError, match="not a whole pickle: it is damaged or cut off"):
        load_pickle(tmp_path / "a.pkl")


def large_files() -> dict[str, bytes]:
    """Small files that speak of a GB: of one that is not there, or of the same again and again."""
    million, size = np.zeros(1 << 20, np.uint8), (1 << 30).to_bytes(8, "little")
    content = million.tobytes()
    same = [array(dtype("u1"), (1 << 20,), content) for _ in range(1000)]
    chosen = [
        selection(a=np.zeros(1), idxs=million, preferred_shape=(1 << 20,)) for _ in range(1000)
    ]
    return {
        "memo": b"\x80\x02Nr\xff\xff\xff\x07.",
        "memo of protocol 0": b"Np99999999\n.",
        "bytes": b"\x80\x04\x8e" + size + b".",
        "bytearray": b"\x80\x05\x96" + size + b".",
        "text": b"\x80\x04\x8d" + size + b".",
        "integer": b"\x80\x02\x8b\xff\xff\xff\x3f.",
        "arrays": pickle.dumps(same, 4),
        "selections": python2_pickle(chosen),
    }


@pytest.mark.parametrize("case", large_files())
def test_nothing_takes_memory_that_a_file_only_speaks_of(tmp_path, case):
    (tmp_path / "a.pkl").write_bytes(large_files()[case])
    tracemalloc.start()
    try:
        with contextlib.suppress(ValueError):
            load_pickle(tmp_path / "a.pkl")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * MAX_EXTRA_BYTES


@pytest.mark.parametrize(
    "name",
    ["\n".join(name).encode() for name in _ArrayUnpickler.admitted],
)
def test_no_pickle_changes_the_reader(tmp_path, name):
    """BUILD with a class or function where an object belongs would write to it, for good."""
    state = b"N}X\x0c\x00\x00\x00__defaults__)s\x86"  # (None, {"__defaults__": ()}): by setattr
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02c" + name + b"\n" + state + b"b.")
    with pytest.raises(ValueError, match="not a whole pickle"):
        load_pickle(tmp_path / "a.pkl")


PLAIN = [
    *(np.arange(6).reshape(2, 3).astype(kind) for kind in ("<f8", ">f8", ">i2", "u1", "f4", "?")),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),  # in protocol 5 neither C nor Fortran
    np.arange(24.0).reshape(2, 3, 4)[:, ::2],
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
    OrderedDict(a=np.int64(1), b=2),
    1 << 70,
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


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_a_sparse_matrix_becomes_dense(tmp_path, form, kind, protocol):
    dense = np.random.default_rng(0).normal(size=(16, 778))
    dense[dense < 1.5] = 0
    matrix = getattr(scipy.sparse, f"{form}_{kind}")(dense)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(matrix, protocol))
    loaded = load_pickle(tmp_path / "a.pkl")
    assert loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, dense)


@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
def test_a_sparse_matrix_of_an_old_scipy(tmp_path, form):
    dense = np.diag([1.0, 0.0, 3.0])[:2]
    matrix = scipy.sparse.csc_matrix(dense).asformat(form)
    if form == "coo":
        row, col = matrix.__dict__.pop("coords")
        matrix.__dict__.update(row=row, col=col)
    data = python2_pickle(matrix)
    assert f"cscipy.sparse.{form}\n{form}_matrix".encode() in data
    (tmp_path / "a.pkl").write_bytes(data)
    np.testing.assert_array_equal(load_pickle(tmp_path / "a.pkl"), dense)


def test_values_that_stand_twice_in_a_sparse_matrix_add_up(tmp_path):
    places = np.array([0, 0, 1]), np.array([1, 1, 0])
    matrix = scipy.sparse.coo_array((np.array([1.0, 2.0, 4.0]), places), shape=(2, 2))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(matrix, 2))
    np.testing.assert_array_equal(load_pickle(tmp_path / "a.pkl"), [[0, 3], [4, 0]])


@pytest.mark.parametrize("protocol", range(6))
def test_chumpys_arrays_and_selections(tmp_path, protocol):
    wide = np.arange(24.0).reshape(2, 3, 4)
    idxs = np.arange(24).reshape(2, 3, 4)[..., :2].ravel()
    chosen = chumpy_object(
        "chumpy.reordering", "Select",
        a=chumpy_object("chumpy.ch", "Ch", x=wide), idxs=idxs, preferred_shape=(2, 3, 2),
    )  # fmt: skip
    flat = chumpy_object("chumpy.reordering", "Select", a=chosen, idxs=ints(11, 0))
    # a derivative that chumpy kept: too large to be made dense, and not asked for
    flat._dr_cached = scipy.sparse.csc_matrix((1 << 20, 1 << 20))
    data = python2_pickle([wide, chosen, flat], min(protocol, 2))
    (tmp_path / "a.pkl").write_bytes(data)
    loaded = load_pickle(tmp_path / "a.pkl")
    np.testing.assert_array_equal(loaded[1], wide[..., :2])
    np.testing.assert_array_equal(loaded[2], [21, 0])


def test_arrays_anywhere(tmp_path):
    shared = np.arange(3)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([shared, (shared, [shared])], 2))
    loaded = load_pickle(tmp_path / "a.pkl")
    assert loaded[1][0] is loaded[0] is loaded[1][1][0]
    np.testing.assert_array_equal(loaded[0], shared)


def test_a_list_that_holds_itself_is_refused(tmp_path):
    """numpy would follow it 64 times deep: 2⁶⁴ numbers, if it holds itself twice."""
    cycle: list = []
    cycle += [cycle, (cycle, 1)]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(cycle, 2))
    with pytest.raises(ValueError, match="holds itself"):
        load_pickle(tmp_path / "a.pkl")


def test_lists_that_numpy_would_write_out_are_refused(tmp_path):
    """A list that holds one list twice, which holds one list twice, …: 200 bytes, 8 GiB."""
    value: list = [1.0, 1.0]
    for _ in range(29):
        value = [value, value]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"handPose": value}, 2))
    with pytest.raises(ValueError, match="far larger than the file"):
        load_pickle(tmp_path / "a.pkl")


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_matrix_of_numpy_is_an_array(tmp_path, protocol):
    """The result of `todense()` of a sparse matrix, saved again."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.matrix([[1.0, 2.0]]), protocol))
    loaded = load_pickle(tmp_path / "a.pkl")
    assert type(loaded) is np.ndarray
    np.testing.assert_array_equal(loaded, [[1, 2]])


def test_bools_are_0_or_1(tmp_path):
    """Other bytes make numpy count more elements than it copies."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(array(dtype("b1"), (3,), b"\x00\x02\xff"), 2))
    loaded = load_pickle(tmp_path / "a.pkl")
    assert loaded.view(np.uint8).tolist() == [0, 1, 1]
