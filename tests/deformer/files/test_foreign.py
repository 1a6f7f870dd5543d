"""What stands in a file's place is recognised, and texts are read whatever wrote them."""

import numpy as np
import pytest

from deformer.files.foreign import (
    UnreadableFileError,
    describe_fault,
    describe_other,
    known_fault,
    one_line,
    read_json,
    read_lines,
)

BINARY = b"\x80\x02" + np.random.default_rng(0).bytes(4000) + b"a\nb\nc\n"


def test_whole_files_show_no_fault():
    assert known_fault(BINARY) == ""
    assert known_fault(b"PK\x03\x04" + BINARY, expected=b"PK\x03\x04") == ""
    assert known_fault("protocol 0 is text: ä\r\nand lines\n".encode()) == ""


def test_text_may_have_any_line_ends():
    lines = b"ABF10/0000\r\n" * 100
    assert describe_other(lines) == "" and "line ends" in known_fault(lines)


def test_a_fault_is_one_line_with_advice():
    message = describe_fault(BINARY, ValueError("much\n" * 1000))
    assert message.startswith("it is damaged or cut off (much much ")
    assert "\n" not in message and len(message) < 300 and "again" in message
    assert one_line(EOFError()) == "EOFError"
    assert describe_fault(BINARY, KeyError(123)).startswith("it is damaged or cut off: download")


def test_lines_end_only_at_line_ends(tmp_path):
    """str.splitlines also breaks at signs that comments in cp1252 and in UTF-8 hold."""
    (tmp_path / "a.txt").write_bytes(b"one\x85two\x0cthree\r\nfour\rfive\n")
    assert read_lines(tmp_path / "a.txt") == ["one\x85two\x0cthree", "four", "five", ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_in_any_of_its_encodings(tmp_path, encoding):
    (tmp_path / "a.json").write_text('{"a": "ä"}', encoding=encoding)
    assert read_json(tmp_path / "a.json") == {"a": "ä"}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1]", b"\xff\x00\x81" * 2000, b"<html>", b"[" * 100_000, b"\x00" * 99]
)
def test_damaged_json_is_told_in_a_line(tmp_path, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300 + len(str(path))
