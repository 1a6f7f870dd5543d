"""One evaluation as a file: what was evaluated, on which data, by which command, with what result.

`evaluation.json` is the only thing that tables, figures and report know of a run:

    {"format": 2,
     "run": {"experiment": …, "checkpoint": …, "step": …, "seed": …, "hand": …, "fusion": …,
             "motion": …, "point_loss": …, "adversarial": …, "trained_on": …, "precision": …,
             "config": …}
            or, of a method without a checkpoint, {"method": …, "predictions": …},
     "data": {"name": …, "dataset": …, "split": …, "synthetic": …, "frames": …, "sha256": …},
     "counts": {"predicted": …, "borrowed": …, "lost": …, "corrupt": …, "behind": …},
     "command": "python -m benchmarks.evaluate …",
     "metrics": what `benchmarks.evaluation.protocol.score` returns}
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from benchmarks.evaluation.protocol import HEADLINE, METRICS
from deformer.data.occlusion_bins import BINS
from deformer.experiments import CHOICES, FULL, VARIANTS
from deformer.files.foreign import foreign, one_line
from deformer.files.wellformed import check_types, read_json_object
from deformer.files.whole import write_whole
from deformer.hand.camera import NEAREST_M
from deformer.training.checkpoint import Checkpoint
from deformer.training.experiment import shaping_fields

EVALUATION_FILE = "evaluation.json"
FORMAT = 2

MAY_DIFFER = (
    "name", "start_from", "features", "stream.seed", "model.fusion", "model.motion",
    "point_loss", "adversarial",
)  # fmt: skip
"""Fields of an experiment in which runs that are compared may differ."""


@dataclass(frozen=True)
class Run:
    """A checkpoint of this project, and what shaped it."""

    experiment: str
    """The preset that it was trained by."""
    checkpoint: str
    step: int
    seed: int
    hand: str
    fusion: str
    motion: str
    point_loss: str
    adversarial: bool
    trained_on: str
    """Dataset and split, as "dexycb s0_train"."""
    precision: str
    """Of the evaluation: "float32" or "bf16"."""
    config: str
    """Hash of all else that shaped the run (`config_hash`): runs are compared,
    and seeds taken together, only where it is the same."""

    @property
    def choices(self) -> dict[str, str | bool]:
        """What decides which variant it is."""
        return {name: getattr(self, name) for name in CHOICES}


@dataclass(frozen=True)
class Method:
    """A method without a checkpoint: predictions that others made, or the constant hand."""

    method: str
    """Its name; a row of the paper's tables by the name that the paper prints, as `[36]`."""
    predictions: str
    """The file, or what they are."""


@dataclass(frozen=True)
class Data:
    """What was predicted."""

    name: str
    """Of the built dataset."""
    dataset: str
    """Whose recordings, or whose layout if synthetic: "dexycb", "ho3d_v2", "ho3d_v3", or the name
    of a dataset of one's own, which is in no table."""
    split: str
    """As `s0_test` or `evaluation`."""
    synthetic: bool
    frames: int
    """Scored."""
    sha256: str
    """Of the dataset's `dataset.json`: which build it was."""

    @property
    def kind(self) -> str:
        """Synthetic data are called so, loudly."""
        return "SYNTHETIC data" if self.synthetic else "recordings"

    def __str__(self) -> str:
        return f"{self.kind} · {self.name}, {self.split} · {self.frames:,} frames"


@dataclass(frozen=True)
class Counts:
    """What became of the labelled frames of the split; the first two kinds are scored."""

    predicted: int
    """From windows around them."""
    borrowed: int = 0
    """Without an image of the hand: each takes the prediction of the nearest frame of its clip."""
    lost: int = 0
    """Without an image, in clips without any prediction."""
    corrupt: int = 0
    """With an image, but their window needs a member of a shard that is not what was written."""
    behind: int = 0
    """Of those that are scored: hands whose pixels fit best behind the camera, which were put
    `NEAREST_M` before it."""

    @property
    def scored(self) -> int:
        return self.predicted + self.borrowed

    def sentences(self, data: str) -> list[str]:
        """What became of frames that were not simply predicted. data: the dataset's folder."""
        found = {
            f"{self.corrupt} labelled frames are left out: they need corrupt members of {data}, "
            f"which python -m pipelines.verify {data} names": self.corrupt,
            f"{self.lost} labelled frames are left out: their clips have no image of the hand at "
            "all": self.lost,
            f"{self.borrowed} of {self.scored} labelled frames have no image of the hand: each "
            "takes the prediction of the nearest frame of its clip": self.borrowed,
            f"{self.behind} hands fit best behind the camera: put {NEAREST_M} m away": self.behind,
        }
        return [sentence for sentence, number in found.items() if number]


@dataclass(frozen=True)
class Evaluation:
    """The content of an `evaluation.json`. Raises `ValueError` for metrics that are no result."""

    run: Run | Method
    data: Data
    counts: Counts
    command: str
    """That made it, to be run again."""
    metrics: dict[str, Any]

    def __post_init__(self) -> None:
        if self.counts.scored != self.data.frames:
            raise ValueError(f"{self.counts} do not add up to {self.data.frames} frames")
        if self.metrics.keys() != BINS.keys() or any(
            not scores.keys() >= set(METRICS) for scores in self.metrics.values()
        ):
            raise ValueError("its metrics are not those of this program")

    @property
    def headline(self) -> str:
        """`25 frames of demo s0_test: PA-MPJPE 9.20 mm, …`."""
        scores = self.metrics["all"]
        known = (
            f"{name} {scores[metric]['mean']:.2f} {unit}"
            for metric, (name, unit) in HEADLINE.items()
            if scores[metric] is not None
        )
        of = f"{self.data.frames:,} frames of {self.data.name} {self.data.split}"
        return f"{of}: {', '.join(known)}"


def config_hash(checkpoint: Checkpoint) -> str:
    """Of an experiment but for its name, its seed and what ablations differ in; of the model that
    it began with, of the steps that it was to go and of the training's precision."""
    fields = shaping_fields(checkpoint.experiment)
    shared = {name: value for name, value in fields.items() if name not in MAY_DIFFER}
    text = json.dumps([shared, checkpoint.origin], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write the file; it is there when it is whole."""
    content = {"format": FORMAT, **asdict(evaluation)}
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_evaluation(path: Path) -> Evaluation:
    """Raises `ValueError`, naming the file, for anything but an evaluation of this format."""
    data = path.read_bytes()
    try:
        content = read_json_object(data)
        version = content.pop("format", None)
        if version != FORMAT:
            raise ValueError(f"it has format {version!r}, this program reads {FORMAT}")
        parts = dict.fromkeys(("run", "data", "counts", "metrics"), dict)
        check_types(content, parts | {"command": str})
        kind = Method if "method" in content["run"] else Run
        if kind is Run:
            _complete_older(content["run"])
        for part, of in (("run", kind), ("data", Data), ("counts", Counts)):
            check_types(content[part], get_type_hints(of))
            content[part] = of(**content[part])
        return Evaluation(**content)
    except (ValueError, AttributeError) as error:  # AttributeError: a list where a mapping belongs
        raise ValueError(
            f"{path} is no evaluation ({foreign(data) or one_line(error)}): evaluate again with "
            "python -m benchmarks.evaluate, or take the file away"
        ) from error


def _complete_older(run: dict[str, Any]) -> None:
    """Files written before `motion` was stored get the motion of the variant with their fusion;
    they also have a name `row`, which nothing uses."""
    run.pop("row", None)
    run.setdefault("motion", VARIANTS.get(str(run.get("fusion")), VARIANTS[FULL]).motion)


def nothing_measured(results: Path) -> str:
    """What to say where `find_evaluations` finds none."""
    return (
        f"{results} holds no {EVALUATION_FILE}, so nothing is measured yet: python -m "
        "benchmarks.evaluate --checkpoint RUN --data shards/NAME --split SPLIT --out results/RUN "
        "makes one"
    )


def find_evaluations(results: Path) -> dict[Path, Evaluation]:
    """Every `evaluation.json` under a folder, which may be absent, by path, in sorted order."""
    return {path: read_evaluation(path) for path in sorted(results.rglob(EVALUATION_FILE))}
