"""Facts of DexYCB and HO-3D: cameras, sequences, splits, and lists of frames.

DexYCB's split of a sequence follows from its place among the 1000 of `dexycb_sequences.csv`, so a
part of the dataset is enough to know it. Source of the four setups: Chao et al., "DexYCB: A
Benchmark for Capturing Hand Grasping of Objects", CVPR 2021.
"""

import csv
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

from deformer.files.foreign import UnreadableFileError, describe_other_file, read_lines

IMAGE_SIZE = (640, 480)
"""Width and height of the images of both datasets."""

SERIALS = (
    "836212060125", "839512060362", "840412060917", "841412060263",
    "932122060857", "932122060861", "932122061900", "932122062010",
)  # fmt: skip
"""DexYCB's eight cameras; their order defines setup s2."""

_TABLE = Path(__file__).with_name("dexycb_sequences.csv")
_LINE = re.compile(r"([A-Za-z0-9_-]{1,40})/(\d{1,6})")


class Recording(NamedTuple):
    """One sequence of DexYCB."""

    subject: str
    sequence: str
    side: str
    object: str


@cache
def recordings() -> tuple[Recording, ...]:
    """The 1000 sequences, 100 of each subject, in the official (sorted) order."""
    with _TABLE.open(newline="") as file:
        return tuple(sorted(Recording(**row) for row in csv.DictReader(file)))


@cache
def official_sequences() -> dict[str, list[str]]:
    """Subject → the names of its sequences, both in the official order."""
    sequences: dict[str, list[str]] = {}
    for recording in recordings():
        sequences.setdefault(recording.subject, []).append(recording.sequence)
    return sequences


def official_splits(subject: str, sequence: str, serial: str) -> dict[str, str]:
    """The split of a sequence's camera in the setups s0-s3: {"s0": "train", …}."""
    sequences = official_sequences()
    s, i = list(sequences).index(subject), sequences[subject].index(sequence)
    c = SERIALS.index(serial)
    s0 = "train" if i % 5 != 4 else "val" if s < 2 else "test"
    s1 = "val" if s == 6 else "test" if s in (7, 8) else "train"
    s2 = "val" if c == 6 else "test" if c == 7 else "train"
    s3 = "val" if i // 5 in (3, 19) else "test" if i // 5 in (7, 11, 15) else "train"
    return {"s0": s0, "s1": s1, "s2": s2, "s3": s3}


@cache
def official_num_clips() -> dict[str, int]:
    """Number of clips (camera × sequence) of each split: {"s0_train": 6400, …}."""
    counts: Counter[str] = Counter()
    for recording in recordings():
        for serial in SERIALS:
            parts = official_splits(recording.subject, recording.sequence, serial)
            counts.update(f"{setup}_{part}" for setup, part in parts.items())
    return dict(sorted(counts.items()))


def read_frame_list(path: Path) -> list[tuple[str, int]]:
    """HO-3D's train.txt or evaluation.txt: (sequence, frame number) of each line, in order. Raises
    `UnreadableFileError` for any other line."""
    listed = []
    for i, line in enumerate(read_lines(path), 1):
        match = _LINE.fullmatch(line.strip())
        if match:
            listed.append((match[1], int(match[2])))
        elif line.strip():
            raise UnreadableFileError(
                f"{path}, line {i}: {line[:80]!r} is not <sequence>/<frame> such as ABF10/0000; "
                f"{describe_other_file(path) or 'take the list from the dataset again'}"
            )
    return listed
