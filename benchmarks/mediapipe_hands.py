"""The score of MediaPipe's hand landmarker, on the frames that networks are scored on.

    python -m benchmarks.mediapipe_hands --data shards/occluded --split s3_test \\
        --out results/occluded/mediapipe

For orientation: it is what one can have without training. It sees single images and cannot be told
the side. It was trained on recorded hands and marks joints on the skin, not where MANO has them.

Picture: the whole stored crop, wider than the hand box that networks see. MediaPipe first searches
the image for a palm, and needs surroundings for that: of 181 frames of occluded-hands it finds 42 %
in the box, 61 % in the box times 1.6 and 63 % in the crop, with much the same errors; 256 or 512 px
make no difference. Of two hands the one of the labelled side counts, then the nearer to the box.

Joints: its world landmarks, at the place from which they project best onto its landmarks in the
image. These, read as 3D, have no size; resized, they are better aligned (17.1 instead of 19.8 mm in
the found hands of occluded-hands) and worse root-aligned (43.8 instead of 40.5). One in eleven
found hands has the wrong side, and stays as it is: mirroring it in depth, which keeps its picture,
gains aligned (33 → 23 mm) and loses root-aligned (55 → 120).

Where it finds no hand, the nearest frame of the clip with one lends its joints, as if nothing had
moved. A clip without any takes the mean of all found hands (`benchmarks.constant_hand`). So every
frame is scored, as in the rows beside it. Leaving out what is hard would flatter, and so would the
labels' mean hand, which is nearer than what MediaPipe finds. The row's source says how many hands
were found, by occlusion bin.
"""

import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rich.progress import track

from benchmarks.constant_hand import constant_hand, of_sides
from benchmarks.evaluation.protocol import score
from benchmarks.evaluation.result import (
    EVALUATION_FILE,
    Evaluation,
    Method,
    write_evaluation,
)
from benchmarks.evaluation.truth import Truth, compare, data_of, pair_predictions, read_truth
from deformer.data.index import FrameIndex
from deformer.data.occlusion_bins import BINS, is_in_bin
from deformer.data.store import ClipReader, Store, open_store
from deformer.files.images import decode_jpeg
from deformer.hand.camera import fit_translation, is_at_nearest
from deformer.program.console import PlainConsole, run_program, this_command
from deformer.video.detect import Detection, HandDetector

NAME = "MediaPipe"


@dataclass(frozen=True)
class Options:
    """What to score it on."""

    data: str
    """A built dataset: a folder, or any fsspec URL."""
    split: str
    """The split to score: s0_test, evaluation, …"""
    out: Path
    """The folder of the result."""


@dataclass(frozen=True, eq=False)
class Searched:
    """P frames that were searched, and the hands in them."""

    row: np.ndarray
    """(P,) rows of `frames.parquet`."""
    joints_m: np.ndarray
    """(P, 21, 3) camera frame, dataset order; NaN where no hand was found."""

    @property
    def is_found(self) -> np.ndarray:
        """(P,) bool."""
        return np.isfinite(self.joints_m).all((1, 2))


def search(detector: HandDetector, store: Store, index: FrameIndex, rows: np.ndarray) -> Searched:
    """Look at the stored crops of `rows`, which have an image; corrupt ones are left out."""
    reader, read, found = ClipReader(store, index, 1), [], []
    for row in track(rows.tolist(), "finding hands"):
        try:
            crop = decode_jpeg(reader.image(row))
            labels = reader.labels(int(index.clip[row]))
        except ValueError:  # corrupt
            continue
        i = index.numbers["clip_index"][row]
        side = "left" if index.is_left[row] else "right"
        hand = choose(detector.detect(crop), side, labels["box_px"][i])
        read.append(row)
        found.append(np.full((21, 3), np.nan) if hand is None else place(hand, labels["K"][i]))
    return Searched(np.array(read, np.int64), np.array(found).reshape(-1, 21, 3))


def choose(hands: list[Detection], side: str, box_px: np.ndarray) -> Detection | None:
    """The hand of this side, then the one whose middle is nearest to that of the box (4,)."""

    def rank(hand: Detection) -> tuple[bool, float]:
        away = (hand.box_px - box_px).reshape(2, 2).mean(0)
        return hand.side != side, float(np.linalg.norm(away))

    return min(hands, key=rank, default=None)


def place(hand: Detection, K: np.ndarray) -> np.ndarray:
    """Joints (21, 3) in the camera frame, m; K (3, 3) of the image with the landmarks."""
    points, K = hand.landmarks_m, np.asarray(K, np.float64)
    return points + fit_translation(points[None], hand.landmarks_px[None], K[None])


def fill(searched: Searched, index: FrameIndex) -> np.ndarray:
    """Joints (P, 21, 3) for all frames: the hands found, and stand-ins as the top of this file
    says. Raises `ValueError` where none was found."""
    row, joints, is_found = searched.row, searched.joints_m.copy(), searched.is_found
    if not is_found.any():
        raise ValueError(f"{NAME} found no hand in {len(row)} images, so there is nothing to score")
    is_left = index.is_left[row]
    joints[~is_found] = of_sides(
        constant_hand(joints[is_found], is_left[is_found]), is_left[~is_found]
    )
    clip, frame = index.clip[row], index.numbers["frame"][row].astype(np.int64)
    for c in np.unique(clip[is_found]):
        lends = np.flatnonzero((clip == c) & is_found)
        lacks = np.flatnonzero((clip == c) & ~is_found)
        nearest = np.abs(frame[lacks][:, None] - frame[lends][None]).argmin(1)
        joints[lacks] = joints[lends[nearest]]
    return joints


def evaluate(options: Options) -> Evaluation:
    """Find the hands of a split and score them. Raises `ValueError` for splits without labelled
    hands, `ImportError` or `FileNotFoundError` that says what to install."""
    store, index = open_store(options.data)
    truth = read_truth(store.folder, options.split)
    if not truth.is_labelled.any():
        raise ValueError(f"no frame of {options.split} has labelled joints: choose another split")
    with HandDetector("image") as detector:
        searched = search(detector, store, index, truth.row[truth.frames["valid"].to_numpy()])
    joints, is_found = fill(searched, index), searched.is_found
    paired = pair_predictions(truth, searched.row)
    has_one = paired.source >= 0
    at, source = paired.at[has_one], paired.source[has_one]
    counts = replace(
        paired.counts,
        behind=int(is_at_nearest(joints[source]).sum()),
        not_found=int((~is_found[source]).sum()),
    )
    for sentence in counts.sentences(options.data):
        PlainConsole().print(sentence, soft_wrap=True, style="yellow")
    return Evaluation(
        Method(NAME, f"{NAME} {version('mediapipe')}; {shares_found(truth, at, is_found[source])}"),
        data_of(store, truth, options.split, len(at)),
        counts,
        this_command("benchmarks.mediapipe_hands"),
        score(compare(truth, at, joints[source], None, None)),
    )


def shares_found(truth: Truth, at: np.ndarray, is_found: np.ndarray) -> str:
    """A sentence by bin: how many of the frames `at` (M,) have a found hand, is_found (M,)."""
    occlusion = truth.frames["occlusion"].take(at).to_numpy().astype(np.float64)
    of_bins = {name: is_found[is_in_bin(occlusion, limits)] for name, limits in BINS.items()}
    bins = ", ".join(f"{name} {of.mean():.0%}" for name, of in of_bins.items() if len(of))
    return f"hands found: {bins}; in the other frames the nearest one of the clip stands in"


def run(options: Options) -> None:
    """Score, write the evaluation, and print its headline."""
    evaluation, path = evaluate(options), options.out / EVALUATION_FILE
    write_evaluation(path, evaluation)
    PlainConsole().print(evaluation.run.predictions, soft_wrap=True)
    PlainConsole().print(f"{evaluation.headline} → {path}", soft_wrap=True)


def main() -> int:
    return run_program(run, Options, "benchmarks.mediapipe_hands", __doc__)


if __name__ == "__main__":
    sys.exit(main())
