"""Files that hold their own sha256, so that every changed bit is found when they are read.

It is the sum of the file with zeros in the sum's place: an entry of a JSON object, or of the JSON
in the header of a safetensors file. In a Parquet file it stands between pages and footer, so that
it is lost, as it must be, when another program writes the table anew. All other programs read such
files as ever. Files of before there was a sum lack it.
"""

import hashlib
import json
from collections.abc import Collection, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from deformer.files.foreign import UnreadableFileError, describe_other, one_line
from deformer.files.patient import open_file, read_file
from deformer.files.wellformed import read_json_object
from deformer.files.whole import whole_file, write_whole

SEAL = "file_sha256"
UNSEALED = {SEAL: "0" * 64}
"""The entry as it is given to write, and as it is read."""
_SIZE = 64
_IN_JSON = (f'"{SEAL}": "'.encode(), f'\\"{SEAL}\\": \\"'.encode())
"""What stands before the sum in JSON, and in JSON within JSON."""
_IN_PARQUET = f"{SEAL}:".encode()
_TAIL = 8
"""Bytes of a Parquet file after its footer: the footer's size, and b"PAR1"."""
_CHUNK = 1 << 20


class ChangedFileError(ValueError):
    """A file's bytes are not those that were written."""

    def __init__(self) -> None:
        super().__init__("its bytes are not those that were written")


def seal(data: bytes) -> bytes:
    """Put the sum into its place; without a place, the bytes as they are."""
    if (at := _place(data)) is None:
        return data
    return data[:at] + _sum_of(data, at) + data[at + _SIZE :]


def check_seal(data: bytes) -> bool:
    """Whether the bytes hold a sum. Raises `ChangedFileError` where it is not theirs."""
    if (at := _place(data)) is None:
        return False
    if data[at : at + _SIZE] != _sum_of(data, at):
        raise ChangedFileError
    return True


def check_found(content: Container[str], is_sealed: bool) -> None:
    """Raises `ChangedFileError` for JSON with a sum that `check_seal` did not find in its bytes:
    another program has written them anew."""
    if SEAL in content and not is_sealed:
        raise ChangedFileError


def _place(data: bytes) -> int | None:
    places = (data.rfind(mark) + len(mark) for mark in _IN_JSON if mark in data)
    return next(places, None)


def _sum_of(data: bytes, at: int) -> bytes:
    digest = hashlib.sha256(memoryview(data)[:at])
    digest.update(UNSEALED[SEAL].encode())
    digest.update(memoryview(data)[at + _SIZE :])
    return digest.hexdigest().encode()


# ------------------------------------------------------------------------------------------- JSON


def write_json(path: Path, content: dict[str, Any], allow_nan: bool = True) -> None:
    """Write a JSON file, whole or not at all; sealed where `content` has `UNSEALED`."""
    text = json.dumps(content, indent=1, allow_nan=allow_nan) + "\n"
    write_whole(path, seal(text.encode()))


def read_sealed_json(path: Path, names: Collection[str]) -> dict[str, Any]:
    """What was given to `write_json`, sealed or not.

    names: all that it may hold, or a changed name of the sum would pass for a file without a sum.
    Raises `UnreadableFileError`.
    """
    data = read_file(path)
    try:
        content = parse_sealed_json(data)
        check_names(content, names)
        return content
    except ValueError as error:
        raise UnreadableFileError(
            f"{path} is damaged: {describe_other(data) or one_line(error)}"
        ) from None


def parse_sealed_json(data: bytes) -> dict[str, Any]:
    """As `read_sealed_json`, of a file's bytes; the caller checks names. Raises `ValueError`."""
    content = read_json_object(data)
    check_found(content, check_seal(data))
    return content | UNSEALED if SEAL in content else content


def check_names(content: dict[str, Any], names: Collection[str]) -> None:
    """Raises `ValueError` for what is neither of these names nor the sum."""
    if unknown := content.keys() - {SEAL, *names}:
        raise ValueError(f"names unknown: {', '.join(sorted(unknown))}")


# ---------------------------------------------------------------------------------------- Parquet


@contextmanager
def sealed_parquet(
    path: Path, schema: pa.Schema, temporary: Path | None = None, **options: Any
) -> Iterator[pq.ParquetWriter]:
    """A sealed Parquet file to write, whole or not at all; temporary: as for `whole_file`."""
    with whole_file(path, temporary) as file:
        with pq.ParquetWriter(file, schema, write_page_checksum=True, **options) as writer:
            yield writer
        begin = _footer_begin(file)
        file.seek(begin)
        footer = file.read()
        at = begin + len(_IN_PARQUET)
        file.seek(begin)
        file.write(_IN_PARQUET + UNSEALED[SEAL].encode() + footer)
        digest = _sum_of_file(file, at)
        file.seek(at)
        file.write(digest)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table as a sealed file, whole or not at all."""
    with sealed_parquet(path, table.schema) as writer:
        writer.write_table(table)


def check_parquet(path: Path) -> bool:
    """Whether a file is sealed. Raises `ChangedFileError` where the sum is not the file's."""
    with open_file(path) as file:
        at = _footer_begin(file) - _SIZE
        file.seek(max(0, at - len(_IN_PARQUET)))
        if file.read(len(_IN_PARQUET)) != _IN_PARQUET:
            return False
        if file.read(_SIZE) != _sum_of_file(file, at):
            raise ChangedFileError
    return True


def _footer_begin(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL))
    return max(0, size - _TAIL - int.from_bytes(file.read(4), "little"))


def _sum_of_file(file: BinaryIO, at: int) -> bytes:
    digest, left = hashlib.sha256(), at
    file.seek(0)
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(UNSEALED[SEAL].encode())
    file.seek(at + _SIZE)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest().encode()
