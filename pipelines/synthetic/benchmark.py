"""The benchmark `occluded-hands`: its split, and the setting of each part's scenes.

Train, val and test are those of DexYCB's setup s3 (unseen objects), so every tool that knows the
official splits knows these. The parts share no sequence, no object (grasped or around it) and no
colour of table, wall, furniture or clothes; textures are drawn anew for every sequence. Some
classes that s3 trains on are never grasped here, since another part's scenes need them. The scenes
of every part hold three or four objects.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from deformer.data.official import SERIALS, official_splits
from pipelines.synthetic.plans import SequencePlan, dexycb_plan, dexycb_serials
from pipelines.synthetic.scene.setting import EVERYTHING, Setting
from pipelines.synthetic.things.ycb import CLASS_IDS

VERSION = 4
"""Raised whenever the same parameters give other files."""
_CHOICE = 3
"""Seed of the choice of sequences."""

SETUP = "s3"
PARTS = ("train", "val", "test")
_SHARES = {"val": 0.1, "test": 0.2}

_CLASSES = {
    "train": (1, 2, 7, 9, 10, 11, 13, 15, 17, 18, 20),
    "val": (3, 4, 5, 19, 21),
    "test": (6, 8, 12, 14, 16),
}
_FIRST_AND_STEP = {"train": (0, 2), "val": (1, 4), "test": (3, 4)}
"""First index and step of a part's colours in each palette: every other colour is for training, the
rest alternate."""

_PALETTES = ("table_hues", "table_woods", "walls", "clothes")
_SHUTTER = (0.5, 1.0)
_PILES = 3
_MAX_OBJECTS = 4
_MOST_HIDDEN = 0.3
_CAMERA_ROOM_M = 0.4
_CAMERA_ORDER = (0, 2, 3, 1, 4, 5, 6, 7)
"""Low and high cameras alternate: objects on the table hide little from high ones."""


def setting(part: str) -> Setting:
    """The setting of "train", "val" or "test"."""
    first, step = _FIRST_AND_STEP[part]
    return Setting(
        classes=_CLASSES[part],
        shutter=_SHUTTER,
        piles=_PILES,
        max_objects=_MAX_OBJECTS,
        most_hidden=_MOST_HIDDEN,
        camera_room_m=_CAMERA_ROOM_M,
        **{name: getattr(EVERYTHING, name)[first::step] for name in _PALETTES},
    )


def outside_test(piles: int) -> Setting:
    """Everything that the test part's scenes do not use."""
    test = setting("test")
    pools = {
        name: tuple(x for x in getattr(EVERYTHING, name) if x not in getattr(test, name))
        for name in ("classes", *_PALETTES)
    }
    hidden, room_m = (_MOST_HIDDEN, _CAMERA_ROOM_M) if piles else (1.0, EVERYTHING.camera_room_m)
    return Setting(
        **pools, shutter=(0.1, 1.0), piles=piles, most_hidden=hidden, camera_room_m=room_m
    )


def serials(count: int) -> list[str]:
    """`count` of the eight cameras; `ValueError` for a number that the rig does not have."""
    dexycb_serials(count)
    return [SERIALS[k] for k in sorted(_CAMERA_ORDER[:count])]


def benchmark_plan(count: int | None) -> list[SequencePlan]:
    """`count` sequences (None: all that there are), a tenth for val and a fifth for test.

    A larger benchmark holds all sequences of a smaller one, in the same parts. Raises `ValueError`
    where `count` is too small for three parts, or too large.
    """
    parts: dict[str, list[SequencePlan]] = {part: [] for part in PARTS}
    for plan in sorted(dexycb_plan(None), key=lambda plan: plan.folder):
        part = official_splits(plan.subject, plan.name, SERIALS[0])[SETUP]  # of every camera
        if CLASS_IDS[plan.object_name] in _CLASSES[part]:
            parts[part].append(replace(plan, setting=setting(part)))
    rng = np.random.default_rng(_CHOICE)
    mixed = {part: _mixed(parts[part], rng) for part in PARTS}
    if count is None:
        return [plan for part in PARTS for plan in mixed[part]]
    wanted = {part: max(1, round(share * count)) for part, share in _SHARES.items()}
    wanted["train"] = count - sum(wanted.values())
    shares = {"train": 1 - sum(_SHARES.values()), **_SHARES}
    most = min(int(len(mixed[part]) / share) for part, share in shares.items())
    if wanted["train"] < 1 or count > most:
        raise ValueError(
            f"--sequences {count}: the benchmark has 3 to {most} sequences, or `all` ("
            + ", ".join(f"{len(mixed[part])} {part}" for part in PARTS)
            + ")"
        )
    return [plan for part in PARTS for plan in mixed[part][: wanted[part]]]


def _mixed(plans: list[SequencePlan], rng: np.random.Generator) -> list[SequencePlan]:
    """Shuffled, with objects and sides in turn."""
    drawn = [plans[i] for i in rng.permutation(len(plans))]
    counts: Counter[tuple[str, str]] = Counter()
    rank = []
    for plan in drawn:
        kind = plan.object_name, plan.side
        rank.append(counts[kind])
        counts[kind] += 1
    return [drawn[i] for i in np.argsort(rank, kind="stable")]
