"""What to run: presets by kind of data, and one job for each run of Tables 4-6; those of Tables 1-3
are planned in `rivals.py`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.ablations.jobs import Job
from benchmarks.evaluation.protocol import EVALUATION_SPLITS
from benchmarks.rivals import RIVALS
from deformer.data.dataset import DATASET_FILE, read_info
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.experiments import BASES, OCCLUDED_HANDS, base_of, get_experiment
from deformer.program.least import check_least
from deformer.training.experiment import Experiment
from deformer.variants import VARIANTS


@dataclass(frozen=True)
class Preset:
    """The experiment that the ablations vary, and how long each run is trained."""

    bases: dict[str, str]
    """Kind of data (the dataset, or the synthetic benchmark) → name of the experiment."""
    steps: int | None
    """None: the experiment's epochs."""
    num_processes: int


PRESETS = {
    "tiny": Preset({"dexycb": "tiny", "ho3d": "tiny_ho3d"}, 600, 1),
    "lite": Preset({OCCLUDED_HANDS: "lite_temporal"}, None, 1),
    "paper": Preset({"dexycb": "dexycb", "ho3d": "ho3d"}, None, 8),
}


@dataclass(frozen=True)
class Options:
    """Which runs, on which data."""

    data: Path
    """A built dataset: DexYCB (or its layout) for Tables 4 and 5, HO-3D for Table 6."""
    preset: Literal["tiny", "lite", "paper"] = "tiny"
    """tiny: a CPU. lite: a CPU, on encoded frames of occluded-hands. paper: 8 GPUs."""
    tables: tuple[int, ...] = (4, 5, 6)
    """4 to 6: the ablations. 1 to 3: the whole method and its rivals."""
    base: str | None = None
    """The experiment that the ablations vary; by default the preset's for this data. For your own
    dataset add one to BASES in deformer/experiments.py, with your splits as stream.split and
    validation.split. Name it here, and the split to evaluate on by --split."""
    split: str | None = None
    """The split to evaluate on; by default s0_test, for HO-3D evaluation, for occluded-hands
    s3_test."""
    runs: Path = Path("runs")
    results: Path = Path("results")
    features: Path | None = None
    """The folder of `deformer.encode`, for a base that learns from encoded frames; by default the
    experiment's."""
    seeds: tuple[int, ...] = (0,)
    only: tuple[str, ...] = ()
    """Ablations and rivals by name, such as center mse vibe; "full" is the whole method. By default
    all in the tables, and on occluded-hands also our own, nearby and pairwise."""
    steps: int | None = None
    """Instead of the preset's."""
    num_processes: int | None = None
    """Instead of the preset's."""
    at_once: int = 1
    """How many runs at a time; they share the cores and GPUs, and their output goes to console.log
    in their folders."""
    workers: int = 2
    """Processes per rank that read ahead."""
    dry_run: bool = False
    """Print the plan and stop; if --data is built, with an estimate of the time."""

    def __post_init__(self) -> None:
        if unknown := set(self.only) - VARIANTS.keys() - RIVALS.keys():
            raise ValueError(
                f"--only {' '.join(sorted(unknown))}: the ablations are {', '.join(VARIANTS)}; the "
                f"rivals are {', '.join(RIVALS)}"
            )
        if unknown := set(self.tables) - set(range(1, 7)):
            raise ValueError(f"--tables {' '.join(map(str, unknown))}: the tables are 1 to 6")
        check_least(self, "--", at_once=1)
        if not self.seeds:
            raise ValueError("--seeds needs one at least")
        if len(set(self.seeds)) < len(self.seeds):
            seeds = " ".join(map(str, self.seeds))
            raise ValueError(f"--seeds {seeds}: a seed is one run, so name each once")

    @property
    def is_built(self) -> bool:
        """Whether the dataset exists. Without it only the plan can be shown."""
        return (self.data / DATASET_FILE).exists()

    @property
    def processes(self) -> int:
        """Processes of each run."""
        return self.num_processes or PRESETS[self.preset].num_processes


def plan(options: Options) -> list[Job]:
    """All jobs in the order of running: seed by seed, the whole method first."""
    kind = kind_of(options)
    base, split = base_of_data(options, kind), split_of(options, kind)
    steps = steps_of(options, base)
    tables = set(options.tables) & ({6} if kind == "ho3d" else {4, 5})
    is_ours = kind == OCCLUDED_HANDS
    variants = [
        variant
        for variant in VARIANTS.values()
        if variant.rows.keys() & tables
        and (variant.name in options.only if options.only else variant.in_paper or is_ours)
    ]
    jobs = [
        make_job(options, variant.applied_to(base).name, seed, steps, split)
        for seed in options.seeds
        for variant in variants
    ]
    check_steps(options, jobs)
    return jobs


def split_of(options: Options, kind: str) -> str:
    """The split to evaluate on. Raises `ValueError` where nothing says it."""
    split = options.split or EVALUATION_SPLITS.get(kind)
    if split is None:
        raise ValueError(f"{options.data} is {kind}: give --split, what to evaluate on")
    return split


def check_steps(options: Options, jobs: list[Job]) -> None:
    """Raises `ValueError` for runs that were trained for more steps than are asked for."""
    for job in jobs:
        if options.is_built and job.trained_steps > job.steps:
            raise ValueError(
                f"{job.run} was trained for {job.trained_steps:,} steps, and {job.steps:,} are "
                "asked for: give its --steps, or other --runs and --results"
            )


def preset_of(experiment: str) -> str | None:
    """The preset that has this experiment or its base."""
    base = base_of(experiment)
    return next((name for name, p in PRESETS.items() if base in p.bases.values()), None)


def base_of_data(options: Options, kind: str) -> Experiment:
    """The experiment that the ablations vary. Raises `ValueError` if there is none."""
    bases = PRESETS[options.preset].bases
    if options.base is None:
        if kind not in bases:
            raise ValueError(
                f"{options.data} is {kind}; --preset {options.preset} is for {', '.join(bases)}. "
                "For other data name the experiment to vary by --base"
            )
        return get_experiment(bases[kind])
    named = {base.name: base for base in BASES}
    if options.base not in named:
        raise ValueError(
            f"--base {options.base} has no ablations; those that have are {', '.join(named)}, and "
            "what you add to BASES in deformer/experiments.py"
        )
    return named[options.base]


def _features(options: Options, experiment: Experiment) -> str | None:
    """The folder that an experiment learns from; None if it learns from images. Raises `ValueError`
    if it learns from images and a folder is given."""
    if experiment.features is None and options.features is not None:
        raise ValueError(
            f"--features {options.features}: {experiment.name} learns from images; name by "
            "--base an experiment of encoded frames"
        )
    return experiment.features if options.features is None else str(options.features)


def kind_of(options: Options) -> str:
    """Of the data; of those that are to be built, for --dry-run, by their name."""
    if options.dry_run and not options.is_built:
        kinds = PRESETS[options.preset].bases
        return next((kind for kind in kinds if kind in options.data.name), next(iter(kinds)))
    info = read_info(options.data)
    mark = info["synthetic"] or {}
    return mark.get("benchmark") or info["parameters"]["dataset"]


def steps_of(options: Options, experiment: Experiment) -> int:
    """How long an experiment is trained: its epochs, where nothing else is asked for; 0 where the
    dataset is not built."""
    if given := options.steps or PRESETS[options.preset].steps:
        return given
    if not options.is_built:
        return 0
    stream = Stream(experiment.stream, *open_store(options.data))
    return experiment.optim.epochs * stream.steps_per_epoch


def place_of(options: Options, experiment: str, seed: int) -> Path:
    """Where a run and its result go, below --runs and --results."""
    return Path(options.data.name) / f"{get_experiment(experiment).name}-seed{seed}"


def _mesh(options: Options) -> list[str]:
    """Table 3 has errors of meshes. HO-3D's evaluation scores them unasked; those of DexYCB's test
    frames would take the memory of a large machine."""
    return ["--mesh", "True"] if 3 in options.tables and kind_of(options) == OCCLUDED_HANDS else []


def make_job(
    options: Options, experiment: str, seed: int, steps: int, split: str,
    features: str | None = None,
) -> Job:  # fmt: skip
    """One run. features: instead of those of --features or of the experiment."""
    place = place_of(options, experiment, seed)
    run, result, data = options.runs / place, options.results / place, str(options.data)
    features = features or _features(options, get_experiment(experiment))
    encoded = [] if features is None else ["--features", features]
    launch = [sys.executable, "-m"]
    if options.processes > 1:
        launch += ["torch.distributed.run", "--nproc-per-node", str(options.processes), "-m"]
    train = [
        *launch, "deformer.train", "--experiment", experiment, "--data", data, "--out", str(run),
        "--stream.seed", str(seed), "--steps", str(steps), "--resume",
        "--workers", str(options.workers),
        *encoded,
    ]  # fmt: skip
    evaluate = [
        *launch, "benchmarks.evaluate", "--checkpoint", str(run), "--data", data,
        "--split", split, "--which", "last", "--out", str(result),
        "--workers", str(options.workers),
        *encoded, *_mesh(options),
    ]  # fmt: skip
    return Job(
        experiment, seed, options.data, run, result, train, evaluate, steps, split, features
    )  # fmt: skip
