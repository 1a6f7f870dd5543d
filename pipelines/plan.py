"""What a build will make, decided before any work: parameters, and which clip goes where.

Both depend on the input and the options alone, so that a build taken up again, on whatever number
of workers, makes the same shards.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from deformer.box import BOX_SCALE, AugmentationRange
from deformer.clip import SCHEMA_VERSION
from deformer.mano import Hands, load_hands
from pipelines.shard import ShardTask
from pipelines.source import ClipRef, UnusableInputError, load_dataset, synthetic_mark

FRAMES_PER_SHARD = 8192
"""About 256 MiB of DexYCB's crops."""


@dataclass(frozen=True)
class BuildPlan:
    """What will be made: `parameters` is all that shapes the bytes, as `dataset.json` keeps it."""

    out: Path
    parameters: dict
    tasks: list[ShardTask]
    synthetic: dict | None
    """What a synthesized root says of itself."""


@dataclass(frozen=True)
class HandChoice:
    """Which hand model a build uses: `source` as `load_hands` takes it; None for no model."""

    source: str | None
    name: str
    sha256: str | None


def choose_hand(root: Path, hand: str | None, mano_dir: Path | None) -> HandChoice:
    """The hand model that the labels under `root` were made with.

    A synthesized root was made with the stand-in, a recorded one with MANO; reading labels with
    the other's model would give wrong hands without a word, so it is refused.
    Raises `UnusableInputError` for the wrong model, `FileNotFoundError` when MANO is not there.
    """
    if hand == "none":
        return HandChoice(None, "none", None)
    mark = synthetic_mark(root)
    if mark is None:
        if hand == "standin":
            raise UnusableInputError(
                f"--hand standin: {root} is not synthesized, its labels were made with MANO; give "
                "--mano-dir, or --hand none to build what needs no hand model"
            )
        return _choice(load_hands(mano_dir), str(mano_dir) if mano_dir else None)
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
    return _choice(hands, mark["hand"])


def _choice(hands: Hands, source: str | None) -> HandChoice:
    return HandChoice(source, hands.name, hands.sha256)


def spread(refs: list[ClipRef], limit: int | None) -> list[ClipRef]:
    """At most `limit` of the clips, evenly over the list: a part that still has every split."""
    if limit is None or limit >= len(refs):
        return refs
    return [refs[i * len(refs) // limit] for i in range(limit)]


def make_plan(
    dataset: str,
    root: Path | None,
    out: Path | None = None,
    *,
    hand: str | None = None,
    mano_dir: Path | None = None,
    limit: int | None = None,
    frames_per_shard: int = FRAMES_PER_SHARD,
    limits: AugmentationRange | None = None,
) -> BuildPlan:
    """Decide everything about a build; reads folder names and meta files only.

    Arguments as in `python -m pipelines.build_shards --help`. Raises `UnusableInputError` or
    `FileNotFoundError` with one line that says what to do.
    """
    module = load_dataset(dataset)
    root = _existing(root, module.ROOT_VARIABLE)
    out = (out or Path("shards") / dataset.rpartition(".")[2]).resolve()
    limits = limits or AugmentationRange()
    refs = spread(module.list_clips(root), limit)
    choice = choose_hand(root, hand, mano_dir)
    parameters = {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset,
        "hand": choice.name,
        "hand_sha256": choice.sha256,
        "box_scale": BOX_SCALE,
        "augmentation": asdict(limits),
        "frames_per_shard": frames_per_shard,
        "limit": limit,
        "num_clips": len(refs),
        "clips_sha256": hashlib.sha256("\n".join(map(_describe, refs)).encode()).hexdigest(),
    }
    tasks = [
        ShardTask(i, clips, dataset, root, out, choice.source, limits)
        for i, clips in enumerate(plan_shards(refs, frames_per_shard))
    ]
    return BuildPlan(out, parameters, tasks, synthetic_mark(root))


def _existing(root: Path | None, variable: str) -> Path:
    value = root or os.environ.get(variable)
    if not value:
        raise UnusableInputError(f"where is the raw dataset? give --root, or set ${variable}")
    if not Path(value).is_dir():
        raise UnusableInputError(f"the raw dataset {value} is not a folder (--root or ${variable})")
    return Path(value).resolve()


def _describe(ref: ClipRef) -> str:
    return repr(sorted((asdict(ref) | {"halo": sorted(ref.halo)}).items()))


def differences(old: dict, new: dict) -> str:
    """The differing parameters, as `name: old → new, …`; empty when there are none."""
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return ", ".join(f"{key}: {old.get(key)} → {new.get(key)}" for key in keys)


def plan_shards(refs: Iterable[ClipRef], frames_per_shard: int) -> list[tuple[ClipRef, ...]]:
    """The clips of each shard.

    A shard is pure in every setup, so a split can be read as whole shards. Within a split clips
    stand in the order of a hash of their keys: reading a shard from end to end, as plain
    WebDataset does, already mixes subjects and objects.
    """
    groups: dict[tuple, list[ClipRef]] = {}
    for ref in refs:
        groups.setdefault(ref.splits, []).append(ref)
    shards: list[tuple[ClipRef, ...]] = []
    for splits in sorted(groups):
        current: list[ClipRef] = []
        num_frames = 0
        for ref in sorted(groups[splits], key=lambda r: hashlib.sha256(r.key.encode()).digest()):
            if current and num_frames + len(ref.frames) > frames_per_shard:
                shards.append(tuple(current))
                current, num_frames = [], 0
            current.append(ref)
            num_frames += len(ref.frames)
        shards.append(tuple(current))
    return shards
