"""Whole files to damage, and files made to do harm, by format."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from functools import cache
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deformer.data.clip import FIELDS
from tests.faults.damage import Draw, Hostile, damaged, one_of, rebuilt

_MIB = 1 << 20


def zip_members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def npz_of(members: dict[str, bytes]) -> bytes:
    """An npz of members that need be no arrays."""
    return zip_of({f"{name}.npy": data for name, data in members.items()})


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_header(header: str, version: tuple[int, int] = (1, 0), content: bytes = bytes(64)) -> bytes:
    """An array with a header as stated, right or wrong."""
    text = header.encode("latin1")
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text + content


def npy_like(shape: object, descr: str = "'<f8'") -> bytes:
    return npy_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n")


def zip_bomb(name: str, size_mib: int) -> bytes:
    """A zip of one member of so many MiB of zeros, made without unpacking it: its checksum is
    wrong, which readers find last."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = pack.compress(bytes(_MIB)) + pack.flush(zlib.Z_FULL_FLUSH)
    data = block * size_mib + pack.flush(zlib.Z_FINISH)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)  # stored: then said to be deflated
    whole = bytearray(file.getvalue())
    for sign, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = whole.rindex(sign) if sign == b"PK\x01\x02" else 0
        whole[place + at : place + at + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
        sizes = place + at + 10  # after method, time, date: crc, packed size, whole size
        whole[sizes + 4 : sizes + 8] = struct.pack("<I", size_mib * _MIB)
    return bytes(whole)


def one_member_named_often(times: int) -> bytes:
    """A zip whose directory names one packed member of a MiB again and again."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("000000.npy", npy(np.zeros(_MIB // 8)))
    whole = file.getvalue()
    first = whole.rindex(b"PK\x01\x02")
    last = whole.rindex(b"PK\x05\x06")
    entry = whole[first:last]
    entries = b"".join(entry.replace(b"000000.npy", b"%06d.npy" % i) for i in range(times))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, times, times, len(entries), first, 0)
    return whole[:first] + entries + end


class _System:
    def __reduce__(self):
        return os.system, ("true",)


_OBJECTS = npy_like("(1,)", "'|O'") + pickle.dumps(np.array([_System()], object))
HOSTILE_NPZ = {
    "absurd shape": npz_of({"a": npy_like("(1000000000, 1000000000)")}),
    "shape beyond 64 bits": npz_of({"a": npy_like(f"({10**30},)")}),
    "negative shape": npz_of({"a": npy_like("(-1,)")}),
    "negative shapes": npz_of({"a": npy_like("(-2, -4)")}),
    "absurd shape of nothing": npz_of({"a": npy_like("(0, 1000000000, 1000000000)")}),
    "shape of bools": npz_of({"a": npy_like("(True, False)")}),
    "shape that is none": npz_of({"a": npy_like("'x'")}),
    "objects": npz_of({"a": _OBJECTS}),
    "huge items": npz_of({"a": npy_like("(1,)", "'|V2000000000'")}),
    "huge items of none": npz_of({"a": npy_like("(0,)", "'|S2000000000'")}),
    "items of nothing": npz_of({"a": npy_like("(1000000000,)", "'|V0'")}),
    "structure": npz_of({"a": npy_like("(1,)", "[('a', '<f8', (1000000,))]")}),
    "dtype that is none": npz_of({"a": npy_like("(1,)", "'x8'")}),
    "deep header": npz_of({"a": npy_header("(" * 60_000)}),
    "header with a call": npz_of({"a": npy_header("__import__('os').system('true')")}),
    "long header": npz_of({"a": npy_header(" " * 65_000)}),
    "version 2": npz_of({"a": npy_header("{}", (2, 0))}),
    "no array": npz_of({"a": b""}),
    "other names": npz_of({"../../x": npy(np.ones(3)), "/etc/passwd": npy(np.ones(3)), "": b""}),
    "bomb": zip_bomb("a.npy", 1300),
    "one member often": one_member_named_often(1300),
}


def npz_members(data: bytes) -> dict[str, bytes]:
    """Name → member, of an npz."""
    return {name.removesuffix(".npy"): member for name, member in zip_members(data).items()}


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def of_npz(data: bytes) -> Draw:
    return one_of(damaged({"x": data}), rebuilt(npz_members(data), npz_of))


# ------------------------------------------------------------------------------------ labels


def clip_labels(num_frames: int = 3) -> dict[str, np.ndarray | list[bytes]]:
    """Fields of a clip, as its reader gives them: of the right kinds, without a meaning."""
    kinds = {"str": "U32"}
    return {
        field.name: [b"a1"] * num_frames
        if field.dtype == "rle"
        else np.ones((num_frames, *field.shape), kinds.get(field.dtype, field.dtype))
        for field in FIELDS
    }


# -------------------------------------------------------------------------------------- tars


def tar_members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def tar_of(members: dict[str, bytes], **change: object) -> bytes:
    """A tar; change: attributes of its first member's header."""
    whole = b""
    for name, data in members.items():
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in change.items():
            setattr(info, key, value)
        change = {}
        header = info.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
        whole += header + data + bytes(-len(data) % tarfile.BLOCKSIZE)
    return whole + bytes(2 * tarfile.BLOCKSIZE)


def sparse_tar(size: int) -> bytes:
    """A tar of one member that is a hole of so many bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("clip-c.json")
        info.pax_headers = {"GNU.sparse.map": f"0,0,{size},0", "GNU.sparse.size": str(size)}
        tar.addfile(info)
    return file.getvalue()


_KEPT = {"clip-c.json": b"{}"}
HOSTILE_TAR = {
    "folder": tar_of(_KEPT, type=tarfile.DIRTYPE),
    "link to itself": tar_of(_KEPT, type=tarfile.SYMTYPE, linkname="clip-c.json"),
    "link outside": tar_of(_KEPT, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": tar_of(_KEPT, type=tarfile.LNKTYPE, linkname="../../x"),
    "device": tar_of(_KEPT, type=tarfile.CHRTYPE),
    "pipe": tar_of(_KEPT, type=tarfile.FIFOTYPE),
    "absurd size": tar_of(_KEPT, size=1 << 40),
    "sparse": sparse_tar(1300 << 20),
    "sparse without end": sparse_tar(1 << 50),
    "other names": tar_of({"../../x.json": b"{}", "/etc/passwd": b"x", "": b""}),
    "unknown kind": tar_of(_KEPT, type=b"Q"),
    "nothing": tar_of({}),
    "no text": tar_of({"\udcff.json": b"{}"}),
}

# ------------------------------------------------------------------------------------- Parquet


def parquet_of(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


_KINDS = (
    pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.binary(),
    pa.bool_(), pa.list_(pa.float32()), pa.list_(pa.float32(), 3), pa.list_(pa.string()), pa.null(),
    pa.timestamp("ms"), pa.struct([("a", pa.int32())]), pa.decimal128(20, 3), pa.large_string(),
    pa.list_(pa.list_(pa.int32())), pa.dictionary(pa.int32(), pa.string()),
)  # fmt: skip
_CELLS = (None, -1, 0, 1, 2**31 - 1, -(2**31), 2**62, 0.5, float("nan"), float("inf"), "", "../x",
          "left", b"\xff", True, [], [1.0], [float("nan")] * 63, [None] * 3, {"a": 1})  # fmt: skip


def no_text(rows: int, cell: bytes = b"\xff") -> pa.Array:
    """A column of text that is none."""
    return pa.array([cell] * rows, pa.binary()).view(pa.string())


def _column(kind: pa.DataType, rows: int, cell: object) -> pa.Array:
    """A column of one value, or of nulls where the kind cannot hold it."""
    if kind == pa.string() and isinstance(cell, bytes):
        return no_text(rows, cell)
    try:
        return pa.array([cell] * rows, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.nulls(rows, kind)


def _change_table(table: pa.Table, how: str, column: int, kind: int, cell: int) -> pa.Table:
    column %= max(1, table.num_columns)
    if not table.num_columns:
        return table
    field, rows = table.schema.field(column), len(table)
    name, value = field.name, _CELLS[cell]
    if how == "drop":
        return table.remove_column(column)
    if how == "rename":
        return table.rename_columns([f"{n}x" if n == name else n for n in table.column_names])
    if how == "kind":
        new = _column(_KINDS[kind], rows, value)
        return table.set_column(column, name, new)
    if how == "all":
        return table.set_column(column, name, _column(field.type, rows, value))
    if how == "one" and rows:
        values = table.column(column).to_pylist()
        values[cell % rows] = value
        try:
            return table.set_column(column, name, pa.array(values, field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return table.set_column(column, name, _column(field.type, rows, None))
    if how == "twice":
        return table.append_column(name, table.column(column))
    if how == "none":
        return table.slice(0, 0)
    return table.take(pa.array([cell % rows, 0, 0])) if rows else table


def tables(whole: pa.Table) -> Draw:
    """Parquet files of a table with columns lacking, renamed, doubled, of other kinds or values, or
    with other rows."""
    bare = pa.table(
        whole.columns,
        pa.schema([f.with_nullable(True) for f in whole.schema], whole.schema.metadata),
    )
    ways = ("drop", "rename", "kind", "all", "one", "twice", "none", "rows")

    def make(rng: Random) -> Hostile:
        table, steps = bare, []
        for _ in range(rng.randint(1, 3)):
            places = (rng.randrange(61), rng.randrange(len(_KINDS)), rng.randrange(len(_CELLS)))
            steps.append((rng.choice(ways), *places))
            table = _change_table(table, *steps[-1])
        return Hostile(parquet_of(table), f"table: {steps}")

    return make


def _nested(depth: int) -> pa.Table:
    kind = pa.int32()
    for _ in range(depth):
        kind = pa.list_(kind)
    return pa.table({"frame": pa.nulls(2, kind)})


def _repeated(rows: int, length: int) -> pa.Array:
    """One value of so many bytes in all rows, as a dictionary and a count."""
    values = pa.array([bytes(length)], pa.binary(length))
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), values)


@cache
def hostile_parquet() -> dict[str, bytes]:
    """Made when it is asked for: it takes a moment."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(63 << 14, np.float32)), 63)
    return {
        "name that is no text": parquet_of(pa.table({"frame": [1]})).replace(b"fra", b"\xffra"),
        "no column": parquet_of(pa.table({})),
        "nested": parquet_of(_nested(60)),
        "many columns": parquet_of(pa.table({f"c{i}": [1] for i in range(2000)})),
        "repeated rows": parquet_of(
            pa.table({"frame": _repeated(4500, 1 << 16)}), store_schema=False
        ),
        "repeated vectors": parquet_of(
            pa.table({"joints_m": vectors, "row": np.zeros(1 << 14, np.int64)})
        ),
    }


# ---------------------------------------------------------------------------------- safetensors


def safetensors_of(header: object, size: int | None = None, content: bytes = bytes(64)) -> bytes:
    """A file with a header as stated, right or wrong, of a size as stated."""
    text = json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + content


def _tensor(shape: list, first: int = 0, last: int = 64, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


HOSTILE_SAFETENSORS = {
    "header of 2⁶³ bytes": safetensors_of({}, 1 << 63),
    "header of 2⁶⁴ − 1 bytes": safetensors_of({}, (1 << 64) - 1),
    "header of 100 MB": safetensors_of({}, 100_000_000),
    "overlap": safetensors_of({"a": _tensor([16]), "b": _tensor([8], 16, 48)}),
    "absurd shape": safetensors_of({"a": _tensor([10**9, 10**9])}),
    "product of the shape overflows": safetensors_of({"a": _tensor([2**62, 4])}),
    "offsets beyond the end": safetensors_of({"a": _tensor([2**40], 0, 2**42)}),
    "offsets that fall": safetensors_of({"a": _tensor([16], 64, 0)}),
    "negative": safetensors_of({"a": _tensor([-16])}),
    "unknown dtype": safetensors_of({"a": _tensor([16], dtype="X9")}),
    "nothing of much": safetensors_of({"a": _tensor([0, 10**12], 0, 0)}, content=b""),
    "no text as metadata": safetensors_of({"__metadata__": {"deformer": 1}}),
    "metadata alone": safetensors_of({"__metadata__": {"deformer": "{}"}}, content=b""),
    "deep metadata": safetensors_of(
        {"__metadata__": {"deformer": "[" * 100_000}, "a": _tensor([16])}
    ),
    "other names": safetensors_of({"../../x": _tensor([16])}),
    "nothing": b"",
}
