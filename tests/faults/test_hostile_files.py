"""Hostile bytes to the readers that all others rest on: npz, pickle, JSON."""

import pickle

import numpy as np
import pytest

from deformer.files.safe_pickle import load_pickle
from deformer.files.wellformed import read_json_object, read_npz
from tests.faults.damage import damaged
from tests.faults.hostile import SEEDS, Reader, assert_harmless, from_path, fuzz
from tests.faults.wholes import HOSTILE_NPZ, npz

FEW, MANY = 50, 500


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hostile_file_is_refused_or_read(seed, tmp_path, count_faults):
    wholes = {"small": npz(a=np.arange(6.0), b=np.ones((2, 3), np.float32))}
    pickles = {f"{p}": pickle.dumps({"a": [1, "x", 2.5], "b": np.arange(4.0)}, p) for p in range(6)}
    readers = [
        Reader("npz", damaged(wholes), read_npz, HOSTILE_NPZ),
        Reader("JSON", damaged({"x": b'{"a": [1, 2.5, "x"], "b": {"c": null}}'}), read_json_object),
        Reader(
            "pickle", damaged(pickles), from_path(tmp_path / "x.pkl", load_pickle), says="x.pkl"
        ),
    ]
    outcome = fuzz(readers, MANY if seed else FEW, seed, tmp_path)
    assert_harmless(count_faults, "npz, pickle, JSON", outcome)


def test_an_npz_whose_list_of_arrays_is_lost_is_not_one_of_none():
    whole = npz(a=np.arange(6.0))
    numbers = whole.rindex(b"PK\5\6") + 8
    with pytest.raises(ValueError, match="its list of arrays is lost"):
        read_npz(whole[:numbers] + bytes(8) + whole[numbers + 8 :])
    assert read_npz(npz()) == {}
