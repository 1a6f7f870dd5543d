"""HO-3D's text files in the encodings of editors and transfers, and files that are foreign."""

import codecs
import json

import numpy as np
import pytest

from deformer.data.official import read_frame_list
from deformer.files.foreign import UnreadableFileError
from pipelines.datasets import ho3d_files
from pipelines.datasets.source import UnusableInputError

LIST = "ABF10/0000\nMC1/000123\n"
OBJ = "# Modell für Tüten…\nmtllib a.mtl\nv 0 0 0\nv 0.5 0 0\nv 0 1 0\nf 1/1 2/2 3/3\n"
FORMS = {
    "plain": lambda text: text.encode(),
    "mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "utf-16, big-endian": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-32": lambda text: text.encode("utf-32"),
    "Windows": lambda text: text.replace("\n", "\r\n").encode("cp1252"),
    "old Mac": lambda text: text.replace("\n", "\r").encode("mac-roman"),
    "no last line end": lambda text: text.rstrip("\n").encode(),
}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
FOREIGN = {
    "lfs": (LFS, "git lfs pull"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "random": (np.random.default_rng(0).bytes(3000), "again"),
}


@pytest.mark.parametrize("form", FORMS)
def test_text_in_any_encoding(tmp_path, form):
    (tmp_path / "train.txt").write_bytes(FORMS[form](LIST))
    assert read_frame_list(tmp_path / "train.txt") == [("ABF10", 0), ("MC1", 123)]
    (tmp_path / "a.obj").write_bytes(FORMS[form](OBJ))
    vertices, faces = ho3d_files.read_obj(tmp_path / "a.obj", 0)
    np.testing.assert_array_equal(vertices, [[0, 0, 0], [0.5, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(faces, [[0, 1, 2]])


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_truth_in_any_of_the_encodings_of_json(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(ho3d_files, "_PIECE_SIGNS", 7)
    path = tmp_path / "evaluation_xyz.json"
    path.write_text(json.dumps([[[1.5, 2, 3], [4, 5, 6]]]), encoding=encoding)
    points = ho3d_files.read_points(path, path.stat().st_mtime_ns, 2)
    np.testing.assert_array_equal(points, [[[1.5, 2, 3], [4, 5, 6]]])


READERS = {
    "train.txt": read_frame_list,
    "textured_simple.obj": lambda path: ho3d_files.read_obj(path, path.stat().st_mtime_ns),
    "evaluation_xyz.json": lambda path: ho3d_files.read_points(path, path.stat().st_mtime_ns, 21),
}


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("name", READERS)
def test_foreign_files_are_told_in_a_line(tmp_path, name, case):
    data, message = FOREIGN[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises((UnusableInputError, UnreadableFileError), match=message) as raised:
        READERS[name](tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
