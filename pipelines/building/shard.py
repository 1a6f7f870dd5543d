"""One shard: made in parts, joined, read back, renamed. Nothing half-written is ever visible.

A shard is done when its mark stands in `<dataset>/.deformer-build/`: that file, not the memory of
any scheduler, is the truth. The rows of the index are read off the finished tar, so they cannot
disagree with it, and can be made again from the tars alone.
"""

import hashlib
import io
import json
import shutil
import tarfile
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from deformer.data import clip as contract
from deformer.data.clip import Clip, Locator
from deformer.files.wellformed import read_json_object
from deformer.files.whole import room_for, whole_file, write_whole
from deformer.hand.box import AugmentationRange
from deformer.hand.mano import load_hands
from pipelines.building.annotate import HandModel, annotate_clip
from pipelines.datasets.source import ClipRef, UnusableInputError, in_groups, load_dataset

BUILD_FOLDER = ".deformer-build"
"""Inside a dataset while it is being built."""
PART_FRAMES = 256
"""A second's work: many workers are busy with a few shards, to the end."""


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

    @property
    def name(self) -> str:
        return f"{self.index:06d}.tar"

    @property
    def num_frames(self) -> int:
        return sum(len(ref.frames) for ref in self.refs)

    def parts(self) -> list["ShardTask"]:
        """The same for the shard's clips in turn, some at a time: what one worker makes at once."""
        return [replace(self, refs=refs) for refs in in_groups(self.refs, PART_FRAMES)]


@dataclass(frozen=True)
class Part:
    """Some clips of a shard as they lie in it, one after the other."""

    path: Path
    num_good: int
    """Frames that are valid."""
    num_bad: int
    """Frames whose labels contradict each other."""
    worst: ClipRef | None
    """The first clip that has more of these."""


@dataclass(frozen=True)
class ShardMark:
    """What is kept of a finished shard."""

    name: str
    size: int
    sha256: str
    clips: int
    frames: int


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


def make_part(task: ShardTask, report: Callable[[int], None]) -> Part:
    """Make the clips of one of `ShardTask.parts`; `report(n)` as in `build_shard`."""
    torch.set_num_threads(1)  # one worker, one core
    cv2.setNumThreads(1)
    if not task.root.is_dir():
        raise FileNotFoundError(
            f"{task.root} is not a folder on this worker; every worker must see the dataset and "
            "the output under the same path"
        )
    dataset = load_dataset(task.dataset)
    hand = _hand_of(task)
    worst, num_good, num_bad = None, 0, 0

    def clips() -> Iterator[Clip]:
        nonlocal worst, num_good, num_bad
        done = 0
        for ref in task.refs:
            raw_frames = list(dataset.read_clip(task.root, ref))
            clip = annotate_clip(ref, raw_frames, hand, task.limits)
            yield clip
            good = np.count_nonzero(clip.labels["valid"])
            bad = np.count_nonzero(clip.labels["reason"] == "labels_contradict")
            if bad > good:
                worst = worst or ref
            num_good, num_bad = num_good + good, num_bad + bad
            done += len(raw_frames)
            report(done)

    path = _write_part(task.out, task.name, clips())
    return Part(path, num_good, num_bad, worst)


def join_parts(task: ShardTask, parts: list[Part]) -> ShardMark:
    """Make a shard of its parts, in their order; they stay until `remove_parts`."""
    if mark := read_mark(task.out, task.name):  # by a worker that was taken for dead
        return mark
    num_good, num_bad = sum(p.num_good for p in parts), sum(p.num_bad for p in parts)
    if num_bad > num_good:  # in clips that are too short to be judged one by one
        worst = next(part.worst for part in parts if part.worst)
        raw_frames = list(load_dataset(task.dataset).read_clip(task.root, worst))
        annotate_clip(worst, raw_frames, _hand_of(task), task.limits, 1)
        raise UnusableInputError(
            f"{num_bad} of {num_bad + num_good} frames of {task.name} have labels that "
            f"contradict each other, among them clip {worst.key!r}: a camera, hand or unit is "
            "another than the reader says"
        )
    return _join(task.out, task.name, [part.path for part in parts])


def remove_parts(out: Path, name: str) -> None:
    """Remove a shard's parts, those of workers that died included."""
    for path in (out / BUILD_FOLDER).glob(f"{name}.*.tmp"):
        path.unlink(missing_ok=True)


def _hand_of(task: ShardTask) -> HandModel | None:
    return None if task.hand == "none" else _hand_model(task.hand, task.hand_sha256)


@cache
def _hand_model(source: str, sha256: str) -> HandModel:
    hands = load_hands(source)
    if hands.sha256 != sha256:
        raise UnusableInputError(
            f"the hand model {source} is not the same on this worker (sha256 {hands.sha256}) as "
            f"where the build was started ({sha256}); make them one"
        )
    return HandModel.of(hands)


def write_shard(out: Path, name: str, clips: Iterable[Clip]) -> ShardMark:
    """Write clips as `out/name` and its mark. The bytes depend on the clips alone."""
    try:
        return _join(out, name, [_write_part(out, name, clips)])
    finally:
        remove_parts(out, name)


def _write_part(out: Path, name: str, clips: Iterable[Clip]) -> Path:
    """The members of some clips of a shard: a tar without its end."""
    path = _temporary(out, name)
    with room_for(out / name), path.open("wb") as file:
        tar = _tar(file)
        for clip in clips:
            for member, data in _members(clip):
                _add(tar, member, data)
    return path


def _join(out: Path, name: str, parts: list[Path]) -> ShardMark:
    temporary = _temporary(out, name)
    with whole_file(out / name, temporary) as file:
        tar = _tar(file)
        for part in parts:
            with part.open("rb") as members:
                shutil.copyfileobj(members, file)
        tar.offset = file.tell()
        tar.close()
        file.flush()
        rows = index_shard(temporary, name)
        size, sha256 = size_and_sha256(temporary)
    with whole_file(_rows_path(out, name)) as file:
        for table in rows:
            with pa.ipc.new_stream(file, table.schema) as stream:
                stream.write_table(table)
    num_clips = len(pc.unique(rows[0]["clip"]))
    mark = ShardMark(name, size, sha256, num_clips, len(rows[0]))
    write_json(_mark_path(out, name), asdict(mark))
    return mark


def _temporary(out: Path, name: str) -> Path:
    """Workers that are taken for dead may go on: each writes files of its own."""
    build = out / BUILD_FOLDER
    build.mkdir(parents=True, exist_ok=True)
    return build / f"{name}.{uuid.uuid4().hex}.tmp"


def _tar(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)


def _members(clip: Clip) -> Iterator[tuple[str, bytes]]:
    key = clip.meta.key
    for i, image in enumerate(clip.images):
        if image is not None:
            yield contract.image_member(key, i), image
    yield contract.labels_member(key), contract.encode_labels(clip.labels, clip.meta.num_frames)
    yield contract.meta_member(key), contract.encode_meta(clip.meta)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # its time, owner and mode are constants
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


# ------------------------------------------------------------------------------------------ reading


def size_and_sha256(path: Path) -> tuple[int, str]:
    """Of a file: its bytes, counted and hashed."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256


def index_shard(path: Path, name: str) -> tuple[pa.Table, pa.Table]:
    """Read a whole tar → its rows of `frames.parquet` and of `annotations.parquet`.

    Raises `CorruptShardError` when the tar is cut off or not a sequence of whole clips.
    """
    frames, annotations = [contract.FRAMES_SCHEMA.empty_table()], []
    annotations.append(contract.ANNOTATIONS_SCHEMA.empty_table())
    images: dict[int, Locator] = {}
    labels: tuple[dict, Locator] | None = None
    with path.open("rb") as file:
        for member, data, at in iterate_members(file, name):
            key, _, extension = member.partition(".")
            if extension.endswith(".jpg"):
                images[int(extension.removesuffix(".jpg"))] = at
            elif extension == "labels.npz":
                labels = _decode(name, member, contract.decode_labels, data), at
            elif extension == "json":
                meta = _decode(name, member, contract.decode_meta, data)
                if labels is None or meta.key != key:
                    raise CorruptShardError(f"{name}: {member} follows no labels of its clip")
                located = [images.get(i) for i in range(meta.num_frames)]
                rows = contract.clip_rows(meta, labels[0], name, located, labels[1])
                frames.append(rows[0])
                annotations.append(rows[1])
                images, labels = {}, None
            else:
                raise CorruptShardError(f"{name}: {member} is no member of a clip")
        if images or labels:
            raise CorruptShardError(f"{name} ends within a clip")
    return pa.concat_tables(frames).combine_chunks(), pa.concat_tables(annotations).combine_chunks()


def iterate_members(file, name: str) -> Iterator[tuple[str, bytes, Locator]]:
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                data = tar.extractfile(info).read()
                if len(data) != info.size:
                    raise CorruptShardError(f"{name} is cut off within {info.name}")
                yield info.name, data, Locator(info.offset_data, info.size, zlib.crc32(data))
    except tarfile.TarError as error:
        raise CorruptShardError(f"{name} is no whole tar file: {error}") from error


def _decode(shard: str, member: str, decode: Callable, data: bytes):
    try:
        return decode(data)
    except ValueError as error:
        raise CorruptShardError(f"{shard}: {member}: {error}") from error


# -------------------------------------------------------------------------------- marks and indices


def _mark_path(out: Path, name: str) -> Path:
    return out / BUILD_FOLDER / f"{name}.json"


def _rows_path(out: Path, name: str) -> Path:
    return out / BUILD_FOLDER / f"{name}.arrow"


def read_rows(out: Path, name: str) -> tuple[pa.Table, pa.Table]:
    """What `index_shard` read off a finished shard when it was made."""
    with _rows_path(out, name).open("rb") as file:
        return pa.ipc.open_stream(file).read_all(), pa.ipc.open_stream(file).read_all()


def read_mark(out: Path, name: str) -> ShardMark | None:
    """The mark of a finished shard; None when the shard is yet to be made."""
    try:
        mark = ShardMark(**read_json_object(_mark_path(out, name).read_bytes()))
        is_there = (out / name).stat().st_size == mark.size and _rows_path(out, name).is_file()
    except (FileNotFoundError, ValueError, TypeError):  # absent, or cut off by a power failure
        return None
    return mark if is_there else None


def forget(out: Path, name: str) -> None:
    """Remove a shard's mark, so that it will be made again."""
    _mark_path(out, name).unlink(missing_ok=True)


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file so that it is whole or not there."""
    write_whole(path, json.dumps(content, indent=1) + "\n")
