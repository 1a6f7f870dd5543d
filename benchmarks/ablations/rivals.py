"""The runs of Tables 1 to 3: the whole method and its rivals, with equal budgets and starts.

From images, every method is one run. On kept features (preset lite) there are stages, each of which
needs the one before it:

    maps      what the backbone of the weights that ship sees of every frame, once
    frames    everything that sees single frames, trained on the maps; then those spatial halves
              encode the frames for the methods that read windows
    windows   the Deformer and the video rivals, trained on these features

A rival with a backbone of its own has no row there, because it cannot start from these maps. One
that takes depth is trained from images in the second stage, as long as the others.

All seeds of the last stage read the features of the first seed of the stage before.
"""

import sys
from pathlib import Path

from benchmarks.ablations.jobs import Encoding, Job, Work
from benchmarks.ablations.presets import (
    Options,
    base_of_data,
    check_steps,
    kind_of,
    make_job,
    place_of,
    split_of,
    steps_of,
)
from benchmarks.rivals import RIVALS, Rival
from deformer.data.dataset import has_depth, read_info
from deformer.experiments import get_experiment
from deformer.training.experiment import Experiment
from deformer.variants import FULL

_SPATIAL = "lite"
"""The weights whose backbone makes the maps."""
_FRAMES, _WINDOWS = "lite_maps", "lite_video"
"""On kept features: the bases of what sees single frames and of what reads windows."""


def plan_rivals(options: Options) -> list[list[Work]]:
    """The stages; all work of a stage may be done at once."""
    kind, unfit = kind_of(options), left_out(options)
    rivals = [rival for rival in _rivals_of(options) if rival.name not in unfit]
    if options.only and unfit:
        raise ValueError(next(iter(unfit.values())))
    has_ours = not options.only or FULL in options.only
    if not rivals and not has_ours:
        asked = " ".join(map(str, options.tables))
        tables = {name: sorted(RIVALS[name].rows) for name in options.only}
        raise ValueError(f"no row of --tables {asked} is asked for: {tables}")
    base = base_of_data(options, kind)  # refuses data that the preset is not for
    if options.preset == "lite" and (options.base or options.features):
        raise ValueError(
            "--tables 1 2 3 on kept features makes its own, by its own experiments: leave --base "
            "and --features away"
        )
    if options.preset != "lite":
        names = [base.name] * has_ours + [_experiment(rival, base) for rival in rivals]
        return [_jobs(options, names, base)]
    return _stages_on_features(options, rivals, has_ours)


def left_out(options: Options) -> dict[str, str]:
    """Rivals of the tables that cannot be trained here, and why."""
    has_none = options.is_built and not has_depth(read_info(options.data)["parameters"])
    why = {}
    for rival in _rivals_of(options):
        if rival.backbone is not None and options.preset == "lite":
            why[rival.name] = (
                f"{rival.name} has a backbone of its own, and preset lite keeps what that of lite "
                "sees: choose preset tiny or paper"
            )
        if rival.input == "depth" and has_none:
            why[rival.name] = (
                f"{rival.name} takes depth, and {options.data} is built without: build shards with "
                "--depth into another folder"
            )
    return why


def _rivals_of(options: Options) -> list[Rival]:
    # Rivals that the paper has on HO-3D alone are measured on other data as well
    tables = set(options.tables) & ({3} if kind_of(options) == "ho3d" else {1, 2, 3})
    rivals = [rival for rival in RIVALS.values() if rival.rows.keys() & tables]
    return [rival for rival in rivals if not options.only or rival.name in options.only]


def _stages_on_features(options: Options, rivals: list[Rival], has_ours: bool) -> list[list[Work]]:
    frames, windows = get_experiment(_FRAMES), get_experiment(_WINDOWS)
    singles = [rival for rival in rivals if rival.frames is None]
    video = [rival for rival in rivals if rival.frames is not None]
    encoders = {rival.frames for rival in video} | ({FULL} if has_ours else set())
    names = {name: _experiment(RIVALS[name], frames) for name in RIVALS}
    names[FULL] = frames.name
    first = dict.fromkeys([*sorted(encoders), *(rival.name for rival in singles)])
    made_for = Path("features") / options.data.name
    maps = made_for / "maps"
    singly = _jobs(options, [names[name] for name in first], frames, maps)
    stages: list[list[Work]] = [[], singly]
    if any(job.features for job in singly):
        how = ["--level", "maps", "--copies", "1"]
        stages[0].append(_encoding(options, _SPATIAL, None, frames.name, maps, how))
    made, encodings = {}, []
    for encoder in sorted(encoders):
        run = options.runs / place_of(options, names[encoder], options.seeds[0])
        reader = next((rival for rival in video if rival.frames == encoder), None)
        experiment = _experiment(reader, windows) if reader else windows.name
        made[encoder] = made_for / get_experiment(names[encoder]).name
        how, steps = ["--which", "last", "--features", str(maps)], steps_of(options, frames)
        encodings.append(_encoding(options, str(run), steps, experiment, made[encoder], how))
    jobs = _jobs(options, [windows.name], windows, made[FULL]) if has_ours else []
    for rival in video:
        jobs += _jobs(options, [_experiment(rival, windows)], windows, made[rival.frames])
    return [*stages, encodings, jobs]


def _experiment(rival: Rival, base: Experiment) -> str:
    return f"benchmarks.rivals:{base.name}_{rival.name}"


def _jobs(
    options: Options, names: list[str], base: Experiment, features: Path | None = None
) -> list[Job]:
    steps, split = steps_of(options, base), split_of(options, kind_of(options))
    jobs = [
        make_job(options, name, seed, steps, split, _features_of(name, features))
        for seed in options.seeds
        for name in names
    ]
    check_steps(options, jobs)
    return jobs


def _features_of(experiment: str, folder: Path | None) -> str | None:
    """The folder, for an experiment that learns from features."""
    return None if get_experiment(experiment).features is None else folder and str(folder)


def _encoding(
    options: Options, checkpoint: str, step: int | None, experiment: str, out: Path, how: list[str]
) -> Encoding:
    split = split_of(options, kind_of(options))
    command = [
        sys.executable, "-m", "deformer.encode", "--checkpoint", checkpoint,
        "--data", str(options.data), "--experiment", experiment, "--splits", split,
        "--out", str(out), *how,
    ]  # fmt: skip
    return Encoding(out, command, options.data, checkpoint, step)
