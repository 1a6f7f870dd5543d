"""One shard: made in parts, joined, read back, renamed. No half-written file is ever visible.

A shard is done when its mark is in `<dataset>/.deformer-build/`; no scheduler's memory counts. The
rows of the index are read from the finished tar, so they cannot disagree with it, and can be made
again from the tars alone.
"""

import hashlib
import os
import shutil
import tarfile
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from webdataset import TarWriter

from deformer.data import clip as contract
from deformer.data.clip import Clip, ClipMeta
from deformer.data.index_rows import ANNOTATIONS_SCHEMA, Locator, clip_rows, frames_schema
from deformer.files.patient import is_folder, open_file
from deformer.files.whole import room_for, whole_file
from deformer.hand.box import AugmentationRange
from deformer.hand.mano import load_hands
from deformer.program.pool import single_threaded
from pipelines.building.annotate import HandModel, annotate_clip
from pipelines.building.contradictions import FRAMES_TO_REFUSE
from pipelines.building.marks import BUILD_FOLDER, ShardMark, read_mark, write_mark
from pipelines.datasets.source import ClipRef, UnusableInputError, load_dataset

PART_FRAMES = 256
"""About a second's work, so that many workers stay busy with few shards."""


def group_by_frames(refs: Iterable[ClipRef], most_frames: int) -> list[tuple[ClipRef, ...]]:
    """Consecutive clips in groups of at most `most_frames` frames, or of one longer clip."""
    groups: list[tuple[ClipRef, ...]] = []
    num_frames = 0
    for ref in refs:
        num_frames += len(ref.frames)
        if groups and num_frames <= most_frames:
            groups[-1] += (ref,)
        else:
            groups.append((ref,))
            num_frames = len(ref.frames)
    return groups


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to make one shard; picklable."""

    index: int
    refs: tuple[ClipRef, ...]
    dataset: str
    root: Path
    out: Path
    hand: str
    """"standin", MANO's folder, or "none" to make what needs no hand model."""
    hand_sha256: str | None
    limits: AugmentationRange
    with_depth: bool

    @property
    def name(self) -> str:
        return f"{self.index:06d}.tar"

    @property
    def num_frames(self) -> int:
        return sum(len(ref.frames) for ref in self.refs)

    def parts(self) -> list["ShardTask"]:
        """Tasks of some of the clips each, in order: one worker makes a part at a time."""
        return [replace(self, refs=refs) for refs in group_by_frames(self.refs, PART_FRAMES)]


class CorruptShardError(ValueError):
    """A shard is not what was written. The message names the member and what is wrong."""


# ------------------------------------------------------------------------------------------- making


def build_shard(task: ShardTask, report: Callable[[int, int], None]) -> ShardMark:
    """Make one shard, in this process, unless its mark says that it is there.

    `report(i, n)` is called after every clip of part i with the number of that part's frames done.
    """
    if mark := read_mark(task.out, task.name):
        return mark
    try:
        parts = [make_part(part, partial(report, i)) for i, part in enumerate(task.parts())]
        return join_parts(task, parts)
    finally:
        remove_parts(task.out, task.name)


def make_part(task: ShardTask, report: Callable[[int], None]) -> Path:
    """Make the clips of one of `ShardTask.parts`; `report(n)` as in `build_shard`."""
    single_threaded()
    if not is_folder(task.root):
        raise FileNotFoundError(
            f"{task.root} is not a folder on this worker; every worker must see the dataset and "
            "the output under the same path"
        )

    def clips() -> Iterator[Clip]:
        done = 0
        for ref in task.refs:
            yield _make_clip(task, ref)
            done += len(ref.frames)
            report(done)

    return write_clips(task.out, task.name, clips())


def _make_clip(task: ShardTask, ref: ClipRef, least_frames: int = FRAMES_TO_REFUSE) -> Clip:
    raw_frames = list(load_dataset(task.dataset).read_clip(task.root, ref))
    hand = None if task.hand == "none" else _hand_model(task.hand, task.hand_sha256)
    return annotate_clip(ref, raw_frames, hand, task.limits, least_frames, task.with_depth)


@cache
def _hand_model(source: str, sha256: str) -> HandModel:
    hands = load_hands(source)
    if hands.sha256 != sha256:
        raise UnusableInputError(
            f"the hand model {source} is not the same on this worker (sha256 {hands.sha256}) as "
            f"where the build was started ({sha256}); make them one"
        )
    return HandModel.from_hands(hands)


def write_clips(out: Path, name: str, clips: Iterable[Clip]) -> Path:
    """Write some clips of the shard `name`: a tar without its end. The bytes depend on the clips
    alone."""
    path = _temporary(out, name)
    with room_for(out / name), path.open("wb") as file:
        constants = {"user": "", "group": "", "mode": 0o644, "mtime": 0}
        with TarWriter(file, encoder=False, **constants) as tar:
            for clip in clips:
                for sample in _samples(clip):
                    tar.write(sample)
            size = tar.tarstream.offset
        file.truncate(size)
    return path


def _samples(clip: Clip) -> Iterator[dict]:
    """A clip for WebDataset's writer: two samples, as it sorts names and "json" must be last."""
    images = {f"{i:06d}.jpg": image for i, image in enumerate(clip.images) if image is not None}
    depths = {f"{i:06d}.depth.png": d for i, d in enumerate(clip.depths or ()) if d is not None}
    labels = contract.encode_labels(clip.labels, clip.meta.num_frames)
    yield {"__key__": clip.meta.key, **images, **depths, "labels.npz": labels}
    yield {"__key__": clip.meta.key, "json": contract.encode_meta(clip.meta)}


def join_parts(task: ShardTask, parts: list[Path]) -> ShardMark:
    """Make a shard of its parts, in their order; they stay until `remove_parts`.

    Raises `UnusableInputError` where most of its frames have labels that contradict each other.
    """
    if mark := read_mark(task.out, task.name):  # by a worker that was presumed dead
        return mark
    check = partial(_refuse_contradictions, task)
    return assemble_shard(task.out, task.name, parts, task.with_depth, check)


def assemble_shard(
    out: Path,
    name: str,
    parts: list[Path],
    with_depth: bool,
    check: Callable[[pa.Table], None] = lambda frames: None,
) -> ShardMark:
    """As `join_parts`, for any parts; `check` gets the rows of `frames.parquet` before the shard
    has its name."""
    temporary = _temporary(out, name)
    with whole_file(out / name, temporary) as file:
        for part in parts:
            with open_file(part) as members:
                shutil.copyfileobj(members, file)
        end = 2 * tarfile.BLOCKSIZE
        file.write(bytes(end + -(file.tell() + end) % tarfile.RECORDSIZE))
        file.flush()
        frames, annotations = index_shard(temporary, name, with_depth)
        check(frames)
        size, sha256 = size_and_sha256(temporary)
    mark = ShardMark(name, size, sha256, len(pc.unique(frames["clip"])), len(frames))
    write_mark(out, mark, (frames, annotations))
    return mark


def _refuse_contradictions(task: ShardTask, frames: pa.Table) -> None:
    """Refuse a shard with mostly contradicting labels, in clips too short to judge alone."""
    is_good = frames["valid"].to_numpy()
    is_bad = pc.equal(frames["reason"], "labels_contradict").to_numpy()
    num_good, num_bad = is_good.sum(), is_bad.sum()
    if num_bad <= num_good:
        return
    clips = np.array(frames["clip"].to_pylist())
    excess = {ref: np.sum((is_bad * 1 - is_good)[clips == ref.key]) for ref in task.refs}
    worst = next(ref for ref in task.refs if excess[ref] > 0)
    _make_clip(task, worst, 1)
    raise UnusableInputError(
        f"{num_bad} of {num_bad + num_good} frames of {task.name} have labels that contradict each "
        f"other, among them clip {worst.key!r}: a camera, hand or unit is another than the reader "
        "says"
    )


def remove_parts(out: Path, name: str) -> None:
    """Remove a shard's parts, those of workers that died included."""
    for path in (out / BUILD_FOLDER).glob(f"{name}.*.tmp"):
        path.unlink(missing_ok=True)


def _temporary(out: Path, name: str) -> Path:
    """A new name for every writer, since a worker that was presumed dead may go on writing."""
    build = out / BUILD_FOLDER
    build.mkdir(parents=True, exist_ok=True)
    return build / f"{name}.{uuid.uuid4().hex}.tmp"


# ------------------------------------------------------------------------------------------ reading


def size_and_sha256(path: Path) -> tuple[int, str]:
    """A file's size and sha256."""
    with open_file(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256


def index_shard(path: Path, name: str, with_depth: bool) -> tuple[pa.Table, pa.Table]:
    """Read a whole tar → its rows of `frames.parquet` and of `annotations.parquet`.

    with_depth: of a build with depth, whose rows also say where the depth images are.
    Raises `CorruptShardError` when the tar is cut off or not a sequence of whole clips.
    """
    return index_clips(read_clips(path, name), name, with_depth)


def index_clips(
    clips: Iterable["StoredClip"], name: str, with_depth: bool
) -> tuple[pa.Table, pa.Table]:
    """As `index_shard`, of the clips that `read_clips` gives of the shard `name`."""
    rows = [(frames_schema(with_depth).empty_table(), ANNOTATIONS_SCHEMA.empty_table())]
    for meta, labels, _, places in clips:
        images, depths = (
            [places.get(member(meta.key, i)) for i in range(meta.num_frames)]
            for member in (contract.image_member, contract.depth_member)
        )
        labels_at = places[contract.labels_member(meta.key)]
        rows.append(
            clip_rows(meta, labels, name, images, labels_at, depths if with_depth else None)
        )
    return tuple(pa.concat_tables(tables).combine_chunks() for tables in zip(*rows, strict=True))


class StoredClip(NamedTuple):
    """A clip as a tar holds it: constant part, labels, bytes and places of members by name."""

    meta: ClipMeta
    labels: dict
    members: dict[str, bytes]
    places: dict[str, Locator]


def read_clips(path: Path, name: str) -> Iterator[StoredClip]:
    """The clips of a tar in order.

    Raises `CorruptShardError`, which names shard and member, for what is no whole clip.
    """
    for key, group in groupby(_members(path, name), lambda member: member[0].partition(".")[0]):
        members, places = {}, {}
        for member, data, place in group:
            members[member], places[member] = data, place
        labels_name, meta_name = contract.labels_member(key), contract.meta_member(key)
        if lacking := {labels_name, meta_name} - members.keys():
            lacks = " and no ".join(sorted(lacking))
            raise CorruptShardError(f"{name}: the clip {key} has no {lacks}")
        meta = _decode(name, meta_name, contract.decode_meta, members)
        labels = _decode(name, labels_name, contract.decode_labels, members)
        if (meta.key, meta.num_frames) != (key, len(labels["frame"])):
            raise CorruptShardError(
                f"{name}: {meta_name} is of {meta.num_frames} frames of {meta.key}, {labels_name} "
                f"of {len(labels['frame'])} of {key}"
            )
        yield StoredClip(meta, labels, members, places)


class _Whole:
    """A file that is not asked for more than there is: tarfile asks for as much as a header says,
    and Python makes room for that first."""

    def __init__(self, file: BinaryIO) -> None:
        self._size = file.seek(0, os.SEEK_END)
        self.seek, self.tell, self._read = file.seek, file.tell, file.read
        self.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self.tell())
        return self._read(left if size < 0 else min(size, left))


def _members(path: Path, name: str) -> Iterator[tuple[str, bytes, Locator]]:
    try:
        with open_file(path) as file, tarfile.open(fileobj=_Whole(file), mode="r:") as tar:
            for info in tar:
                if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
                    raise CorruptShardError(f"{name}: {info.name} is no plain file")
                data = tar.extractfile(info).read()
                if len(data) != info.size:
                    raise CorruptShardError(f"{name} is cut off within {info.name}")
                yield info.name, data, Locator(info.offset_data, info.size, zlib.crc32(data))
    except CorruptShardError:
        raise
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise CorruptShardError(f"{name} is no whole tar file: {error}") from error


def _decode(shard: str, member: str, decode: Callable, members: dict[str, bytes]):
    try:
        return decode(members[member])
    except ValueError as error:
        raise CorruptShardError(f"{shard}: {member}: {error}") from error
