"""Files that hold their own sum, and what other programs make of them."""

import json

import pytest

from deformer.files.foreign import UnreadableFileError
from deformer.files.sealed import SEAL, UNSEALED, read_sealed_json, write_json


@pytest.fixture
def path(tmp_path):
    write_json(tmp_path / "kept.json", {"frames": 12, **UNSEALED})
    return tmp_path / "kept.json"


def test_what_was_written_comes_back(path):
    assert read_sealed_json(path, ("frames",)) == {"frames": 12, **UNSEALED}


@pytest.mark.parametrize("settings", [{}, {"separators": (",", ":")}, {"indent": 4}])
def test_changed_by_another_program(path, settings):
    content = json.loads(path.read_text()) | {"frames": 13}
    path.write_text(json.dumps(content, **settings))
    with pytest.raises(UnreadableFileError, match=r"kept\.json is damaged: its bytes are"):
        read_sealed_json(path, ("frames",))


def test_without_a_sum_it_is_read(path):
    content = json.loads(path.read_text())
    del content[SEAL]
    path.write_text(json.dumps(content))
    assert read_sealed_json(path, ("frames",)) == {"frames": 12}
