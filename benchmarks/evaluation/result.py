"""One evaluation as a file: what was evaluated, on which data, by which command, with what result.

Tables, figures and the report know a run by its `evaluation.json` alone:

    {"format": 3,
     "run": {"experiment": …, "checkpoint": …, "step": …, "seed": …, "hand": …, "fusion": …,
             "motion": …, "point_loss": …, "adversarial": …, "trained_on": …, "precision": …,
             "config": …}
            or, for a method without a checkpoint, {"method": …, "predictions": …},
     "data": {"name": …, "dataset": …, "split": …, "synthetic": …, "frames": …, "sha256": …},
     "counts": {"predicted": …, "borrowed": …, "lost": …, "corrupt": …, "behind": …,
                "not_found": …},
     "command": "python -m benchmarks.evaluate …",
     "metrics": what `benchmarks.evaluation.protocol.score` returns,
     "file_sha256": see `deformer.files.sealed`}
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, get_type_hints

from benchmarks.evaluation.protocol import HEADLINE, METRICS
from deformer.data.occlusion_bins import BINS
from deformer.files.foreign import describe_other, one_line
from deformer.files.sealed import SEAL, UNSEALED, parse_sealed_json, write_json
from deformer.files.wellformed import check_types, shown
from deformer.hand.camera import NEAREST_M
from deformer.training.checkpoint import Checkpoint
from deformer.training.experiment import shaping_fields
from deformer.variants import CHOICES, FULL, VARIANTS

EVALUATION_FILE = "evaluation.json"
FORMAT = 3
_FORMATS = (2, FORMAT)
"""That are read; 2 lacks the sum of the file."""

MAY_DIFFER = (
    "name", "start_from", "features", "stream.seed", "model.fusion", "model.motion",
    "point_loss", "adversarial",
)  # fmt: skip
"""Compared runs may differ in these fields of an experiment."""
_ADDED = (("stream.input", "rgb"), ("network", "deformer"))
"""Values of later fields that stand for what runs did before; the hash leaves them out."""


@dataclass(frozen=True)
class Run:
    """A checkpoint of this project, and what shaped it."""

    experiment: str
    """The name of the experiment that trained it."""
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
    network: str
    """Its name: see `deformer.network.registry`."""
    config: str
    """Hash of everything else that shaped the run (`config_hash`). Only runs with the same hash are
    compared, or averaged over seeds."""

    @property
    def choices(self) -> dict[str, str | bool]:
        """The fields that decide which variant the run is."""
        return {name: getattr(self, name) for name in CHOICES}


@dataclass(frozen=True)
class Method:
    """A method without a checkpoint: another program's predictions, or the constant hand."""

    method: str
    """Its name. A name that the paper prints, such as `[36]`, fills that row of its tables."""
    predictions: str
    """The file of predictions, or a description of them."""


@dataclass(frozen=True)
class Data:
    """What was predicted."""

    name: str
    """The name of the built dataset."""
    dataset: str
    """The source of recordings, or of the layout if synthetic: "dexycb", "ho3d_v2", "ho3d_v3", or
    your own dataset's name, which is in no table."""
    split: str
    """Such as `s0_test` or `evaluation`."""
    synthetic: bool
    frames: int
    """Number of scored frames."""
    sha256: str
    """Hash of the dataset's `dataset.json`, which identifies the build."""

    @property
    def kind(self) -> str:
        """Names synthetic data in capitals, so that nobody overlooks it."""
        return "SYNTHETIC data" if self.synthetic else "recordings"

    def __str__(self) -> str:
        return f"{self.kind} · {self.name}, {self.split} · {self.frames:,} frames"


@dataclass(frozen=True)
class Counts:
    """Labelled frames of the split by how they were predicted; the first two kinds are scored."""

    predicted: int
    """Predicted by the window around the frame."""
    borrowed: int = 0
    """No image of the hand: the frame takes the prediction of the nearest frame of its clip."""
    lost: int = 0
    """No image, and the clip has no prediction at all."""
    corrupt: int = 0
    """There is an image, but the window needs a corrupt member of a shard."""
    behind: int = 0
    """Scored hands whose pixels fit best behind the camera; they were put `NEAREST_M` in front."""
    not_found: int = 0
    """Scored frames in which the method, a detector, found no hand; another hand stands in."""

    @property
    def scored(self) -> int:
        return self.predicted + self.borrowed

    def sentences(self, data: str) -> list[str]:
        """A sentence for each kind of frame that was not simply predicted. data: the dataset's
        folder."""
        found = {
            f"{self.corrupt} labelled frames are left out: they need corrupt members of {data}, "
            f"which python -m pipelines.verify {data} names": self.corrupt,
            f"{self.lost} labelled frames are left out: their clips have no image of the hand at "
            "all": self.lost,
            f"{self.borrowed} of {self.scored} labelled frames have no image of the hand: each "
            "takes the prediction of the nearest frame of its clip": self.borrowed,
            f"{self.behind} hands fit best behind the camera: put {NEAREST_M} m away": self.behind,
            f"in {self.not_found} of {self.scored} labelled frames no hand was found: another "
            "stands in": self.not_found,
        }
        return [sentence for sentence, number in found.items() if number]


@dataclass(frozen=True)
class Evaluation:
    """The content of an `evaluation.json`. Raises `ValueError` for counts or metrics that cannot
    be a result."""

    run: Run | Method
    data: Data
    counts: Counts
    command: str
    """The command that made it and makes it again."""
    metrics: dict[str, Any]

    def __post_init__(self) -> None:
        if self.counts.scored != self.data.frames:
            raise ValueError(f"{self.counts} do not add up to {self.data.frames} frames")
        if self.metrics.keys() != BINS.keys() or any(
            not scores.keys() >= set(METRICS) for scores in self.metrics.values()
        ):
            raise ValueError("its metrics are not those of this program")
        for name, scores in self.metrics.items():
            if type(scores.get("num_frames")) is not int:
                raise ValueError(f"num_frames of {name} is {shown(scores.get('num_frames'))}")
            if wrong := [metric for metric in METRICS if not _is_summary(scores[metric])]:
                raise ValueError(f"{wrong[0]} of {name} is {shown(scores[wrong[0]])}")

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


def _is_summary(value: object) -> bool:
    """Whether this is what is said of a metric: nothing, or a mean, perhaps with its interval."""
    if value is None:
        return True
    if not isinstance(value, dict) or not _are_numbers([value.get("mean")], 1):
        return False
    return value.get("interval") is None or _are_numbers(value["interval"], 2)


def _are_numbers(values: object, count: int) -> bool:
    is_list = isinstance(values, list) and len(values) == count
    return is_list and all(type(v) in (int, float) and isfinite(v) for v in values)


def config_hash(checkpoint: Checkpoint) -> str:
    """Hash of the experiment without `MAY_DIFFER`, of the model that the training started from, of
    its planned number of steps and of its precision."""
    fields = shaping_fields(checkpoint.experiment)
    shared = {name: value for name, value in fields.items() if name not in MAY_DIFFER}
    shared = {name: value for name, value in shared.items() if (name, value) not in _ADDED}
    text = json.dumps([shared, checkpoint.origin], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write the file; it appears only when it is complete."""
    content = {"format": FORMAT, **asdict(evaluation), **UNSEALED}
    write_json(path, content, allow_nan=False)


def read_evaluation(path: Path) -> Evaluation:
    """Raises `ValueError` that names the file if it is not an evaluation of this format."""
    data = path.read_bytes()
    try:
        content = parse_sealed_json(data)
        version = content.pop("format", None)
        if version not in _FORMATS:
            raise ValueError(f"it has format {version!r}, this program reads {FORMAT}")
        parts = dict.fromkeys(("run", "data", "counts", "metrics"), dict) | {"command": str}
        check_types(content, parts | ({SEAL: str} if version == FORMAT else {}))
        content.pop(SEAL, None)
        kind = Method if "method" in content["run"] else Run
        if kind is Run:
            _complete_older(content["run"])
        content["counts"].setdefault("not_found", 0)  # older files lack it
        for part, of in (("run", kind), ("data", Data), ("counts", Counts)):
            check_types(content[part], get_type_hints(of))
            content[part] = of(**content[part])
        return Evaluation(**content)
    except (ValueError, AttributeError) as error:  # AttributeError: a list where a mapping belongs
        raise ValueError(
            f"{path} is no evaluation ({describe_other(data) or one_line(error)}): evaluate again "
            "with python -m benchmarks.evaluate, or take the file away"
        ) from error


def _complete_older(run: dict[str, Any]) -> None:
    """Older files lack `network`, which is the Deformer, and `motion`: they get the motion of the
    variant with their fusion. They also have a field `row`, which nothing uses."""
    run.pop("row", None)
    run.setdefault("network", "deformer")
    run.setdefault("motion", VARIANTS.get(str(run.get("fusion")), VARIANTS[FULL]).motion)


def nothing_measured(results: Path) -> str:
    """The message when `find_evaluations` finds none."""
    return (
        f"{results} holds no {EVALUATION_FILE}, so nothing is measured yet: python -m "
        "benchmarks.evaluate --checkpoint RUN --data shards/NAME --split SPLIT --out results/RUN "
        "makes one"
    )


def find_evaluations(results: Path) -> dict[Path, Evaluation]:
    """Every `evaluation.json` under a folder, sorted by path; none if the folder is absent."""
    return {path: read_evaluation(path) for path in sorted(results.rglob(EVALUATION_FILE))}
