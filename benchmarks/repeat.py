"""The commands that repeat what was measured, from what datasets, runs and evaluations tell."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from benchmarks.ablations.presets import PRESETS
from benchmarks.compare.comparable import is_start
from benchmarks.evaluation.result import Evaluation, Run
from benchmarks.evaluation.training_log import TrainingLog, evaluations_of
from benchmarks.material import Material
from deformer.experiments import EXPERIMENTS, base_of
from deformer.hand.box import AugmentationRange
from deformer.training.experiment import Experiment, differences
from deformer.training.features import Features, open_features

_OWN_SIZE = {"sequences": 200, "cameras": 2, "frames": 72, "seed": 0, "depth": False}
"""The benchmark as `make ablations` makes it."""
_NAMED_BY_SEED = ("--out", "--checkpoint")
"""Options whose folders end in the seed, as `benchmarks.ablations.presets` names them."""


def make_commands(mark: dict, runs: Iterable[Run]) -> list[str]:
    """`make ablations` as it was measured, one per preset and number of steps, but for the number
    of processes; none for a benchmark of another size. FILE stands for what cannot be made.

    mark: what `dataset.json` says of how the benchmark was synthesized; runs: that were evaluated
    on it.
    """
    if any(mark[name] != value for name, value in _OWN_SIZE.items()):
        return []
    presets = {preset.bases.get(mark["benchmark"]): name for name, preset in PRESETS.items()}
    seeds: dict[tuple[str, int], set[int]] = {}
    for run in runs:
        preset = presets.get(base_of(run.experiment))
        if preset is not None and not is_start(run):
            seeds.setdefault((preset, run.step), set()).add(run.seed)
    motions = ["MOTIONS=FILE"] if "motions_sha256" in mark else []
    lines = []
    for (preset, step), found in sorted(seeds.items()):
        numbers = " ".join(map(str, sorted(found)))
        words = [f"PRESET={preset}", *motions, f'SEEDS="{numbers}"', f"STEPS={step}"]
        lines.append(" ".join(["make ablations", *words]))
    return lines


def dataset_commands(info: dict, name: str) -> list[str]:
    """What makes and builds a dataset, from what its `dataset.json` (info) says. RAW and MOTIONS
    stand for what cannot be made."""
    parameters, mark = info["parameters"], info["synthetic"] or {}
    is_made_here = "generator" in mark
    raw = f"data/{name}" if is_made_here else "RAW"
    build = [
        "python", "-m", "pipelines.build_shards", "--dataset", parameters["dataset"], "--root", raw,
        "--out", f"shards/{name}", "--frames-per-shard", str(parameters["frames_per_shard"]),
    ]  # fmt: skip
    if parameters["limit"] is not None:
        build += ["--limit", str(parameters["limit"])]
    for field, value in parameters["augmentation"].items():
        if value != getattr(AugmentationRange(), field):
            build += [f"--augmentation.{field}", str(value)]
    if parameters.get("halo_frames") is not None:
        build += ["--halo-frames", str(parameters["halo_frames"])]
    if parameters["hand"] == "none":
        build += ["--hand", "none"]
    return [*([_synthesize(mark, raw)] if is_made_here else []), shlex.join(build)]


def _synthesize(mark: dict, out: str) -> str:
    words = ["python", "-m", "pipelines.synthesize", "--layout", mark["layout"], "--out", out]
    if "benchmark" in mark:
        words += ["--benchmark", mark["benchmark"]]
    words += ["--sequences", str(mark["sequences"])]
    if mark["layout"] == "dexycb":
        words += ["--cameras", str(mark["cameras"])]
    words += ["--frames", str(mark["frames"]), "--seed", str(mark["seed"])]
    words += ["--motions", "MOTIONS"] if "motions_sha256" in mark else []
    words += [] if mark["depth"] else ["--no-depth"]
    return shlex.join(words)


def training_commands(material: Material) -> list[tuple[int, str]]:
    """(seed, command) of every run that was evaluated and of those that they started from, each
    after the one that it started from; runs without a checkpoint are left out."""
    used = [log for log in material.logs if evaluations_of(log, material.evaluations)]
    starts = [start for log in used for start in _starts_of(log, material.logs)]
    return [
        (log.experiment.stream.seed, text)
        for log in dict.fromkeys([*starts, *used])
        if (text := training_command(log, material.evaluations)) is not None
    ]


def encoding_commands(material: Material) -> list[str]:
    """The commands that encoded what runs learned from, as far as the features are still there."""
    folders = [
        log.experiment.features
        for log in material.logs
        if log.experiment is not None and log.experiment.features is not None
    ]
    found = [_features(folder) for folder in dict.fromkeys(folders)]
    return [features.info["command"] for features in found if features is not None]


def _features(folder: str) -> Features | None:
    try:
        return open_features(folder)
    except ValueError:
        return None


def _begins_with(experiment: Experiment) -> str | None:
    """The run that an experiment's start, or its spatial half, is of."""
    if experiment.features is None:
        return experiment.start_from
    features = _features(experiment.features)
    return None if features is None else features.info["checkpoint"]["run"]


def _starts_of(log: TrainingLog, logs: list[TrainingLog]) -> list[TrainingLog]:
    """The runs that one began with, directly or not, the first of all first."""
    start_from = None if log.experiment is None else _begins_with(log.experiment)
    if start_from is None:
        return []
    start = Path(start_from).resolve()  # of a run, or one of its checkpoints
    folders = [start, *start.parents]
    found = [other for other in logs if other is not log and other.folder.resolve() in folders]
    others = [other for other in logs if other is not log]
    return [start for other in found for start in (*_starts_of(other, others), other)]


def training_command(log: TrainingLog, evaluations: dict[str, Evaluation]) -> str | None:
    """The command that trains the run again, with as many processes and the precision that it had,
    as far as its checkpoint tells; None without one. It ends with the seed."""
    if (checkpoint := log.checkpoint) is None:
        return None
    experiment = checkpoint.experiment
    names = {e.data.name for e in evaluations_of(log, evaluations).values()}
    data = f"shards/{names.pop()}" if len(names) == 1 else "shards/NAME"
    machine, precision = checkpoint.machine, checkpoint.origin.get("precision")
    is_one = machine is None or machine.processes == 1
    words = [
        *(["python"] if is_one else ["torchrun", "--nproc-per-node", str(machine.processes)]),
        "-m", "deformer.train", "--experiment", experiment.name, "--data", data,
        "--out", str(log.folder), "--steps", str(log.last_step),
    ]  # fmt: skip
    if experiment.name in EXPERIMENTS:
        changed = differences(EXPERIMENTS[experiment.name], experiment)
        for name, (_, value) in changed.items():
            words += _option(name, value) if name != "stream.seed" else []
    words += [] if precision is None else ["--precision", precision]
    return shlex.join([*words, "--stream.seed", str(experiment.stream.seed)])


def _option(name: str, value: object) -> list[str]:
    """A field of an experiment, by its dotted name, as an option of `deformer.train`."""
    *parts, field = name.replace("_", "-").split(".")
    if value is False:
        field = f"no-{field}"
    option = f"--{'.'.join([*parts, field])}"
    if isinstance(value, bool):
        return [option]
    return [option, *map(str, value if isinstance(value, tuple | list) else [value])]


def evaluation_commands(material: Material) -> list[tuple[int | None, str]]:
    """(seed, command) of every evaluation; of a method without a checkpoint the seed is None."""
    evaluations = material.evaluations.values()
    return [(e.run.seed if isinstance(e.run, Run) else None, e.command) for e in evaluations]


def over_seeds(commands: Iterable[tuple[int | None, str]]) -> list[str]:
    """(seed, command) → commands; those that differ by their seed alone become one shell loop."""
    groups: dict[str, dict[int | None, str]] = {}
    for seed, text in commands:
        groups.setdefault(_for_any_seed(text, seed), {})[seed] = text
    return [
        f"for s in {' '.join(map(str, by_seed))}; do {pattern}; done"
        if len(by_seed) > 1
        else next(iter(by_seed.values()))
        for pattern, by_seed in groups.items()
    ]


def _for_any_seed(command: str, seed: int | None) -> str:
    """The command with $s for the seed: of --stream.seed, and at the end of a run's folder."""
    words, pattern, option = shlex.split(command), [], ""
    for word in words:
        named = re.fullmatch(rf"(.*seed){seed}", word) if option in _NAMED_BY_SEED else None
        if option == "--stream.seed" and word == str(seed):
            pattern.append("$s")
        elif named:
            pattern.append(f"{shlex.quote(named[1])}$s")
        else:
            pattern.append(shlex.quote(word))
        option = word
    return " ".join(pattern)
