"""The run of a model that was never trained, and datasets that say other things of themselves."""

import io
import json
from pathlib import Path

from rich.console import Console

from benchmarks.evaluate import Options, evaluate
from benchmarks.evaluation.result import Evaluation
from deformer.data.stream import Stream
from deformer.files.sealed import write_json
from deformer.hand.mano import Hands
from deformer.training.checkpoint import Content, save_checkpoint
from deformer.training.experiment import Experiment
from tests.deformer.small_runs import CPU, VERY_SMALL, make_learner

SPLIT = "s0_train"


def save_untrained(
    out: Path, stream: Stream, hands: Hands, experiment: Experiment = VERY_SMALL
) -> Path:
    """A run of no step; returns its folder."""
    learner = make_learner(hands, stream, experiment)
    content = Content(
        step=0, experiment=experiment, hand={"name": hands.name, "sha256": hands.sha256},
        stream=stream.state(0), tensors=learner.tensors(),
    )  # fmt: skip
    save_checkpoint(out, content, keep=1)
    return out


def copy_with_parameters(data: Path, out: Path, **change) -> Path:
    """The dataset with other parameters in its `dataset.json` (None: without), its files linked."""
    out.mkdir()
    info = json.loads((data / "dataset.json").read_text())
    for path in data.iterdir():
        if path.is_file() and path.name != "dataset.json":
            (out / path.name).symlink_to(path)
    parameters = {k: v for k, v in (info["parameters"] | change).items() if v is not None}
    write_json(out / "dataset.json", info | {"parameters": parameters})
    return out


def evaluated(data: Path, out: Path, split: str = SPLIT, **what) -> tuple[Evaluation | None, str]:
    """What `benchmarks.evaluate` makes of a checkpoint or a file, and what it says."""
    said = io.StringIO()
    options = Options(str(data), split, out, **{"workers": 0, "device": "cpu"} | what)
    return evaluate(options, CPU, Console(file=said, width=1000)), said.getvalue()
