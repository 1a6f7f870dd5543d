"""Files of another kind than their names say, described in one line.

Downloads and transfers often leave something else in a file's place: a Git LFS pointer, a login
page, an archive that was not unpacked, a part of the file, or the file with changed line ends.
"""

import io
import os
from pathlib import Path
from typing import Any

from deformer.files.patient import open_file, read_file
from deformer.files.wellformed import read_json_object

_AGAIN = "download or copy it again"
_UNPACK = "unpack it, and name what it holds"
_SIGNATURES = (
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself by `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (b"BZh", "compressed by bzip2", _UNPACK),
    (b"\xfd7zXZ", "compressed by xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"Rar!", "a rar archive", _UNPACK),
    (b"\x93NUMPY", "a single array of numpy", _AGAIN),
    (b"\x89HDF", "an HDF5 file", _AGAIN),
    (b"MATLAB", "a file of MATLAB", _AGAIN),
    (b"%PDF", "a PDF document", _AGAIN),
    (b"\x89PNG", "a picture", _AGAIN),
    (b"\xff\xd8\xff", "a picture", _AGAIN),
)
_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_HEAD_BYTES = 512
_FEW_LINE_ENDS = 8
_LONGEST = 160


class UnreadableFileError(ValueError):
    """A file is damaged or is another kind of file. The message names it and the next step."""


def describe_fault(data: bytes, error: object = "", expected: bytes | None = None) -> str:
    """Why these bytes of a file could not be read, and what to do: "it is a Git LFS pointer: …".

    error: what the reader raised; it is quoted where the bytes show no cause. expected: a signature
    that files of this kind have, such as that of a zip archive for npz files and torch's files.
    """
    if known := known_fault(data, expected):
        return known
    is_quoted = bool(error) and not isinstance(error, KeyError)  # which names a key, often a number
    quoted = f" ({one_line(error)})" if is_quoted else ""
    return f"it is damaged or cut off{quoted}: {_AGAIN}, as binary data"


def known_fault(data: bytes, expected: bytes | None = None) -> str:
    """As `describe_fault`, but empty where the bytes show no cause."""
    return describe_other(data, expected) or _changed_as_text(data)


def describe_other(data: bytes, expected: bytes | None = None) -> str:
    """As `describe_fault`, by the beginning of a file; empty unless it is of another kind."""
    head = data[:_HEAD_BYTES]
    if not data.strip(b"\x00"):
        return f"it {'holds nothing but zeros' if data else 'is empty'}: {_AGAIN}"
    for sign, what, advice in _SIGNATURES:
        if head.startswith(sign) and sign != expected:
            return f"it is {what}: {advice}"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_WEB_PAGE):
        return f"it is a web page, perhaps one that asks for a login: {_AGAIN}, logged in"
    return ""


def describe_other_file(path: Path) -> str:
    """`describe_other` of a file; reads only its beginning."""
    with open_file(path) as file:
        return describe_other(file.read(_HEAD_BYTES))


def _changed_as_text(data: bytes) -> str:
    """Describes binary data that a program handled as text; empty where nothing shows that."""
    try:
        data.decode()
    except UnicodeDecodeError:
        pass
    else:
        if b"\xef\xbf\xbd" in data or data.startswith(b"\xc2\x80"):
            return f"it was saved as text, which destroyed it: {_AGAIN}, as binary data"
    ends = data.count(b"\n")
    if ends >= _FEW_LINE_ENDS and data.count(b"\r\n") == ends:
        return f"its line ends were changed to those of Windows: {_AGAIN}, as binary data"
    return ""


def one_line(error: object) -> str:
    """An error's message as one line, shortened: libraries quote whole files."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def check_folder_name(folder: Path) -> None:
    """Raises `UnreadableFileError` for a path that is not UTF-8: pyarrow, safetensors and OpenCV
    cannot open files there. Archives with other encodings leave such paths."""
    stored = os.fsencode(folder)
    if stored == str(folder).encode(errors="replace"):
        return
    try:
        stored.decode()
        fault = "is UTF-8, and the locale is another: set PYTHONUTF8=1"
    except UnicodeDecodeError:
        fault = (
            "is not UTF-8, and no dataset can be kept there: rename the folder, or name another one"
        )
    raise UnreadableFileError(f"the path {str(folder)!r} {fault}")


# ------------------------------------------------------------------------------------------- text


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds. Raises `UnreadableFileError` naming the file."""
    data = read_file(path)
    try:
        return read_json_object(data)
    except ValueError as error:
        raise UnreadableFileError(
            f"{path} is damaged: {describe_other(data) or one_line(error)}"
        ) from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without line ends of any kind."""
    return io.StringIO(decode_text(read_file(path)), newline=None).read().split("\n")


def decode_text(data: bytes) -> str:
    """The text of a file: in the encoding of its byte order mark, else UTF-8, else Latin-1.

    Latin-1 gives every byte a character, so a comment in another encoding does no harm; the caller
    checks the lines that matter.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
