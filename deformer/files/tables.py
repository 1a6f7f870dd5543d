"""Parquet files of others: what they unpack to, and whether their columns are the expected ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deformer.files.foreign import UnreadableFileError, one_line
from deformer.files.wellformed import MOST_UNPACKED_BYTES

DAMAGE = pa.ArrowException, UnicodeDecodeError, OSError
"""What pyarrow raises for a damaged file: UnicodeDecodeError for a column's name that is no text,
OSError for a page of another sum."""
_MOST_TIMES = 64
"""Numbers may take `MOST_UNPACKED_BYTES`, and so many times the file's size. A column of one value
is stored as a count: gigabytes in a few bytes. (Of text, a footer does not say how long it is.)"""
_BYTES = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 12}


def check_unpacked(source: Path | pa.Buffer) -> None:
    """Raises `ArrowInvalid` for a Parquet file whose numbers would take far more memory than it
    does. Raises as pyarrow for what is none."""
    size = source.size if isinstance(source, pa.Buffer) else source.stat().st_size
    metadata = pq.read_metadata(
        pa.BufferReader(source) if isinstance(source, pa.Buffer) else source
    )
    columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    value_bytes = [_BYTES.get(c.physical_type, max(8, c.length)) for c in columns]
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    unpacked = sum(
        group.column(i).num_values * value_bytes[i]
        for group in groups
        for i in range(group.num_columns)
    )
    if unpacked > MOST_UNPACKED_BYTES + _MOST_TIMES * size:
        raise pa.ArrowInvalid(f"its {size:,} bytes would unpack to {unpacked:,}")


def fitted(table: pa.Table, schema: pa.Schema, path: Path, again: str) -> pa.Table:
    """The columns of a schema, of its types: other programs write other kinds of numbers and lists.

    again: advice on making the file anew. Raises `UnreadableFileError` for columns that lack, are
    there twice, are of other types, or null where the schema allows none.
    """
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise UnreadableFileError(f"{path}: {one_line(error)}; {again}") from None


def vectors(column: pa.ChunkedArray, name: str, path: Path, again: str) -> np.ndarray:
    """A column of lists of one length (N, length), or of values (N,).

    Raises `UnreadableFileError` for lists of different lengths or with nulls in them.
    """
    array = column.combine_chunks()
    if not (pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type)):
        return array.to_numpy(zero_copy_only=False)
    flat, num_rows = array.flatten(), len(array)
    lengths = set(array.value_lengths().to_pylist()) if pa.types.is_list(array.type) else set()
    if len(lengths) > 1 or None in lengths or flat.null_count:
        raise UnreadableFileError(f"{path}: {name} has lists of several lengths, or nulls; {again}")
    length = len(flat) // num_rows if num_rows else getattr(array.type, "list_size", 0)
    return flat.to_numpy(zero_copy_only=False).reshape(num_rows, length)
