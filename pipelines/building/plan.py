"""The plan of a build, made before any work: parameters, and the clips of each shard.

Both depend on input and options alone, so that a resumed build, with any number of workers, makes
the same shards.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from types import ModuleType
from typing import Literal

from deformer.data.clip import SCHEMA_VERSION
from deformer.files.foreign import check_folder_name
from deformer.files.patient import is_folder
from deformer.hand.box import BOX_SCALE, AugmentationRange
from deformer.hand.mano import find_mano, load_hands, load_same_hands
from deformer.program.least import check_least
from pipelines.building.shard import ShardTask, group_by_frames
from pipelines.datasets.source import (
    ClipRef,
    UnusableInputError,
    load_dataset,
    synthetic_mark,
)


@dataclass(frozen=True)
class PlanOptions:
    """What to build, from where, to where."""

    dataset: str
    """dexycb, ho3d, hands, videos, or the name of a module of your own: my_hands,
    my_package.my_hands."""
    root: Path | None = None
    """The raw dataset; by default what $DEX_YCB_DIR, $HO3D_DIR, $HANDS_DIR or
    $HAND_VIDEOS_DIR names."""
    out: Path | None = None
    """The folder to build; by default shards/<dataset>."""
    mano_dir: Path | None = None
    """The folder with MANO_RIGHT.pkl and MANO_LEFT.pkl; by default what $MANO_DIR names."""
    hand: Literal["standin", "none"] | None = None
    """standin: synthesized data (detected automatically). none: build what needs no hand model."""
    limit: int | None = None
    """Build only this many clips, spread evenly over the dataset."""
    frames_per_shard: int = 8192
    """A shard is closed before it would exceed this; 8192 are about 256 MiB of DexYCB's crops."""
    augmentation: AugmentationRange = field(default_factory=AugmentationRange)
    """What the crops must be able to serve at training time."""
    halo_frames: int | None = None
    """HO-3D: how many frame numbers a clip reaches beyond its centre frames on each side, enough
    for the widest window; by default 30, that of 7 frames with a gap of 10."""

    depth: bool = False
    """Also keep the crops of the depth images, without loss (dexycb). A frame without a depth image
    is then not valid."""

    def __post_init__(self) -> None:
        check_least(self, "--", limit=1, frames_per_shard=1, halo_frames=0)


@dataclass(frozen=True)
class BuildPlan:
    """`parameters` holds everything that shapes the bytes, as `dataset.json` keeps it."""

    out: Path
    parameters: dict
    tasks: list[ShardTask]
    synthetic: dict | None
    """The content of a synthesized root's `synthetic.json`."""


@dataclass(frozen=True)
class HandChoice:
    """Which hand model a build uses."""

    source: str
    """As `ShardTask.hand`: "standin", MANO's folder, or "none"."""
    name: str
    sha256: str | None


def choose_hand(
    root: Path, hand: str | None, mano_dir: Path | None, made_with: tuple[str, str] | None = None
) -> HandChoice:
    """The hand model that the labels under `root` were made with.

    A synthesized root was made with the stand-in, a recorded one with MANO; reading labels with
    the other's model would give wrong hands without a word, so it is refused. made_with: name and
    sha256 of the model, where the dataset's module says it (`hand_of`).
    Raises `UnusableInputError` for the wrong model, `FileNotFoundError` when MANO is not there.
    """
    if hand == "none":
        return HandChoice("none", "none", None)
    if made_with is not None:
        return _stated_hand(root, hand, mano_dir, *made_with)
    mark = synthetic_mark(root)
    if mark is None:
        if hand == "standin":
            raise UnusableInputError(
                f"--hand standin: {root} is not synthesized, its labels were made with MANO; give "
                "--mano-dir, or --hand none to build what needs no hand model"
            )
        folder = find_mano(mano_dir)
        return HandChoice(str(folder), "mano", load_hands(folder).sha256)
    if mano_dir is not None:
        raise UnusableInputError(
            f"--mano-dir {mano_dir}: {root} is synthesized, its labels were made with the hand "
            f"model {mark['hand']!r}; leave --mano-dir out"
        )
    hands = load_hands(mark["hand"])
    if hands.sha256 != mark["hand_sha256"]:
        raise UnusableInputError(
            f"{root} was synthesized with another version of the hand model {mark['hand']!r} "
            f"({mark['hand_sha256'][:12]}…, here {hands.sha256[:12]}…); synthesize it again"
        )
    return HandChoice(mark["hand"], hands.name, hands.sha256)


def _stated_hand(
    root: Path, hand: str | None, mano_dir: Path | None, name: str, sha256: str
) -> HandChoice:
    if hand is not None and hand != name:
        raise UnusableInputError(
            f"--hand {hand}: the labels under {root} were made with the hand model {name!r}; leave "
            "--hand out"
        )
    hands = load_same_hands(name, sha256, f"the labels under {root} were made", mano_dir)
    return HandChoice(name if name == "standin" else str(find_mano(mano_dir)), name, hands.sha256)


def choose_clips(refs: list[ClipRef], limit: int | None) -> list[ClipRef]:
    """At most `limit` of the clips, in their order, from all combinations of splits in turn.

    Rare parts come first: a dozen clips of DexYCB already hold every part of every setup.
    """
    if limit is None or limit >= len(refs):
        return refs
    waiting, uses, groups = _by_splits(refs), Counter(), []
    while waiting:
        splits = min(waiting, key=lambda parts: sorted(uses[p] for p in parts))
        groups.append(sorted(waiting.pop(splits), key=_shuffled))
        uses.update(splits)
    in_turn = (ref for turn in zip_longest(*groups) for ref in turn if ref is not None)
    chosen = set(islice(in_turn, limit))
    return [ref for ref in refs if ref in chosen]


def _by_splits(refs: Iterable[ClipRef]) -> dict[tuple, list[ClipRef]]:
    groups: dict[tuple, list[ClipRef]] = {}
    for ref in refs:
        groups.setdefault(ref.splits, []).append(ref)
    return dict(sorted(groups.items()))


def _shuffled(ref: ClipRef) -> bytes:
    """A sorting key that mixes clips in the same way everywhere."""
    return hashlib.sha256(ref.key.encode()).digest()


def make_plan(options: PlanOptions) -> BuildPlan:
    """Decide everything about a build; reads folder names and meta files only.

    Raises `UnusableInputError`, `UnreadableFileError` or `FileNotFoundError` with one line that
    says what to do.
    """
    dataset = options.dataset
    module = load_dataset(dataset)
    root = _existing(options.root, module)
    out = (options.out or Path("shards") / dataset.rpartition(".")[2]).resolve()
    check_folder_name(out)
    halo_frames = _halo_frames(module, dataset, options.halo_frames)
    listed = module.list_clips(
        root, **({} if halo_frames is None else {"halo_frames": halo_frames})
    )
    refs = choose_clips(_checked(listed, root), options.limit)
    if halo_frames is None and any(ref.halo for ref in refs):
        raise UnusableInputError(
            f"clips of {dataset} have a halo, and its module does not say how far it reaches: give "
            "it HALO_FRAMES, and list_clips the argument halo_frames (docs/adding-a-dataset.md)"
        )
    if options.depth:
        _check_depth(module, dataset, root, refs)
    describe, hand_of = (getattr(module, name, None) for name in ("describe", "hand_of"))
    made_with = hand_of(root) if hand_of and options.hand != "none" else None
    choice = choose_hand(root, options.hand, options.mano_dir, made_with)
    parameters = {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset,
        "hand": choice.name,
        "hand_sha256": choice.sha256,
        "box_scale": BOX_SCALE,
        "augmentation": asdict(options.augmentation),
        "tips": refs[0].tips,
        "halo_frames": halo_frames,
        "frames_per_shard": options.frames_per_shard,
        "limit": options.limit,
        "source": describe(root) if describe else {},
        "num_clips": len(refs),
        "clips_sha256": hashlib.sha256("\n".join(map(_describe, refs)).encode()).hexdigest(),
    }
    if options.depth:  # absent otherwise, as in datasets of before there was a choice
        parameters["depth"] = True
    tasks = [
        ShardTask(
            i, clips, dataset, root, out, choice.source, choice.sha256, options.augmentation,
            options.depth,
        )
        for i, clips in enumerate(_plan_shards(refs, options.frames_per_shard))
    ]  # fmt: skip
    return BuildPlan(out, parameters, tasks, synthetic_mark(root))


def _checked(refs: list[ClipRef], root: Path) -> list[ClipRef]:
    if not refs:
        raise UnusableInputError(f"{root} holds no clip of the dataset")
    twice = [key for key, n in Counter(ref.key for ref in refs).items() if n > 1]
    if twice:
        raise UnusableInputError(f"two clips have the key {twice[0]!r}; keys must be unique")
    if len(tips := {ref.tips for ref in refs}) > 1:
        raise UnusableInputError(
            f"clips have fingertips of {' and of '.join(sorted(tips))}, and a network has one "
            "kind: build them as two datasets"
        )
    return refs


def _halo_frames(module: ModuleType, dataset: str, wanted: int | None) -> int | None:
    """How far clips reach beyond their centre frames; None where clips are whole recordings."""
    default = getattr(module, "HALO_FRAMES", None)
    if default is None and wanted is not None:
        raise UnusableInputError(
            f"--halo-frames {wanted}: clips of {dataset} are whole recordings, so windows of every "
            "width lie inside them; leave it out"
        )
    return default if wanted is None else wanted


def _check_depth(module: ModuleType, dataset: str, root: Path, refs: list[ClipRef]) -> None:
    has_depth = getattr(module, "has_depth", None)
    if has_depth is None:
        raise UnusableInputError(f"--depth: of {dataset} no depth images are read; leave it out")
    if not any(has_depth(root, ref) for ref in refs):
        raise UnusableInputError(
            f"--depth: {root} holds no depth image of the clips; unpack or synthesize them too, or "
            "leave it out"
        )


def _existing(root: Path | None, module: ModuleType) -> Path:
    variable = module.ROOT_VARIABLE
    value = root or os.environ.get(variable)
    if not value:
        page = getattr(module, "DOWNLOAD", None)
        where = f"; download it from {page}" if page else ""
        raise UnusableInputError(
            f"where is the raw dataset? give --root, or set ${variable}{where}"
        )
    if not is_folder(Path(value)):
        raise UnusableInputError(f"the raw dataset {value} is not a folder (--root or ${variable})")
    return Path(value).resolve()


def _describe(ref: ClipRef) -> str:
    return repr(sorted((asdict(ref) | {"halo": sorted(ref.halo)}).items()))


def describe_changes(old: dict, new: dict) -> str:
    """The differing parameters, as `name: old → new, …`; empty when there are none."""
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key}: {old.get(key)} → {new.get(key)}" for key in keys)


def _plan_shards(refs: Iterable[ClipRef], frames_per_shard: int) -> list[tuple[ClipRef, ...]]:
    """The clips of each shard.

    A shard is pure in every setup, so a split can be read as whole shards. Within a split clips
    stand in the order of a hash of their keys: reading a shard from end to end, as plain
    WebDataset does, already mixes subjects and objects.
    """
    groups = _by_splits(refs).values()
    return [s for g in groups for s in group_by_frames(sorted(g, key=_shuffled), frames_per_shard)]
