"""The README.md of what is kept: what was measured, on what, and how to repeat it.

Pure functions from what was read to Markdown.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claims.findings import Judged
from benchmarks.claims.render import LEGEND, SHORT_HEAD, heading, runs_text, short_line
from benchmarks.evaluation.result import Evaluation, Run
from benchmarks.keep.ablation_table import AblationTable, to_markdown
from benchmarks.keep.ablation_table import title as ablation_title
from benchmarks.keep.runs import KeptRun, common_start
from benchmarks.material import Material
from benchmarks.repeat import (
    dataset_commands,
    encoding_commands,
    evaluation_commands,
    make_commands,
    over_seeds,
    training_commands,
)
from benchmarks.tables.render import blocks, cell_text, grid
from benchmarks.tables.render import heading as column_heading
from benchmarks.tables.rows import FilledTable, Row
from benchmarks.versions import machine_facts
from benchmarks.words import DASH, DEVIATION, SYNTHETIC, SYNTHETIC_MARK, common_start_text
from deformer.data.dataset import dataset_sha256, read_info
from deformer.experiments import OCCLUDED

FIRST_LINE = "<!-- written by python -m benchmarks.keep -->"
"""Of the page; by it the program knows a folder that it may replace."""
_ABLATIONS = (4, 5, 6)
"""Tables that the page shows; the others are files."""
_LAYOUTS = {"dexycb": "DexYCB", "ho3d": "HO-3D"}
_HANDS = {"standin": "the stand-in hand (not MANO)", "mano": "MANO", "none": "none"}


@dataclass(frozen=True)
class KeptFigure:
    """A figure that was written, and what to say of it."""

    path: str
    """From the folder of the page."""
    heading: str
    caption: str


def page(
    material: Material,
    datasets: Sequence[Path],
    judged: Judged,
    tables: Sequence[FilledTable],
    ablations: Sequence[AblationTable],
    figures: Sequence[KeptFigure],
    runs: Sequence[KeptRun],
    command: str,
) -> str:
    """The whole README.md.

    datasets: folders of what was evaluated; tables: those with measured rows; command: what writes
    all this.
    """
    infos = [(folder, read_info(folder)) for folder in datasets]
    titles = [_title_of(folder, info) for folder, info in infos]
    names = titles or [e.data.name for e in material.evaluations.values()]
    parts = [FIRST_LINE, f"# Measured on {', '.join(dict.fromkeys(names))}", _top(material)]
    parts.append("## The data")
    parts += [_data_text(folder, info, material.evaluations) for folder, info in infos]
    parts += ["## What the paper claims, on these runs", *_claims(judged)]
    parts += ["## The ablations", *_ablations(ablations, runs), *_tables(tables, runs)]
    parts += ["## The runs", _runs(runs)]
    parts.append("## Figures")
    parts += (f"![{f.heading}]({f.path})\n\n*{f.heading}.* {f.caption}" for f in figures)
    parts += ["## How to repeat it", *_commands(material, infos, command)]
    parts += ["## Versions and hardware", _trained_on(runs), _machine()]
    return "\n\n".join(parts) + "\n"


def _title_of(folder: Path, info: dict) -> str:
    return (info["synthetic"] or {}).get("benchmark") or folder.name


def _top(material: Material) -> str:
    kinds = {e.data.synthetic for e in material.evaluations.values()}
    words = {
        (True,): f"**Everything here is measured on {SYNTHETIC}**, rendered by this project. The "
        "numbers compare with each other only, never with the paper's, and what holds here need "
        "not hold on recordings.",
        (False,): "Everything here is measured on recordings.",
        (False, True): f"Some of this is measured on {SYNTHETIC}, marked {SYNTHETIC_MARK}, which "
        "compares with nothing but other synthetic numbers.",
    }[tuple(sorted(kinds))]
    return (
        f"{words}\n\nThis folder is written by a program (the last command below), not by hand. "
        "All digits are in the files: `claims.csv` (what the paper claims), `tables/` (the "
        "ablations side by side, and the paper's tables, published beside measured), `runs.csv` "
        "(each run), `figures.csv` (of each run, what its figures show), `evaluations/` (each "
        "`evaluation.json` as it was written)."
    )


# --------------------------------------------------------------------------------------- the data


def _data_text(folder: Path, info: dict, evaluations: dict[str, Evaluation]) -> str:
    parameters, counts, mark = info["parameters"], info["counts"], info["synthetic"]
    sha256 = dataset_sha256(folder)
    layout = _LAYOUTS.get(parameters["dataset"], parameters["dataset"])
    kind = f"SYNTHETIC, in the layout of {layout}" if mark else f"recordings, {layout}"
    lines = [("what", kind), *(_synthetic_facts(mark) if mark else [])]
    lines += [
        ("hand model", _HANDS.get(parameters["hand"], parameters["hand"])),
        ("frames", f"{counts['frames']:,}, of which {counts['valid']:,} are valid; "
         f"{counts['clips']:,} clips"),
    ]  # fmt: skip
    used = [e.data for e in evaluations.values() if e.data.sha256 == sha256]
    splits = dict.fromkeys(f"{data.split}: {data.frames:,} frames" for data in used)
    lines += [("evaluated", "; ".join(splits)), ("sha256 of dataset.json", f"`{sha256}`")]
    return f"**{folder.name}**\n\n{grid(('', ''), lines)}"


def _synthetic_facts(mark: dict) -> list[tuple[str, str]]:
    """What `dataset.json` says of how its frames were made."""
    if "generator" not in mark:
        return [("made by", "not known")]
    facts = []
    if "benchmark" in mark:
        facts.append(("benchmark", f"{mark['benchmark']}, version {mark['benchmark_version']}"))
    size = f"{mark['sequences']} sequences × {mark['cameras']} cameras × {mark['frames']} frames"
    facts.append(
        ("made by", f"{mark['generator']}, version {mark['version']}, seed {mark['seed']}")
    )
    facts.append(("size", f"{size} at most"))
    if "motions_sha256" not in mark:
        return [*facts, ("motion", "drawn at random")]
    facts.append(("motion", f"of recorded hands, a file with sha256 `{mark['motions_sha256']}`"))
    for name, what in (
        ("retargeting_residual_mm", "stand-in's joints from the recorded ones, mm"),
        ("hand_in_object_mm", "deepest point of the hand in what it carries, mm"),
    ):
        if name in mark:
            facts.append((what, ", ".join(f"{key} {value}" for key, value in mark[name].items())))
    return facts


# ---------------------------------------------------------------------------------------- results


def _claims(judged: Judged) -> list[str]:
    if not any(finding.is_measured for _, findings in judged for finding in findings):
        return ["Nothing can be compared: that takes runs that differ in one choice."]
    parts = [LEGEND]
    for block, findings in judged:
        measured = [finding for finding in findings if finding.is_measured]
        counts = Counter(finding.verdict for finding in measured)
        words = ", ".join(f"{verdict}: {count}" for verdict, count in sorted(counts.items()))
        parts += [f"**{heading(block)}**", f"{runs_text(block)} Verdicts: {words}."]
        parts.append(grid(SHORT_HEAD, map(short_line, measured)))
        if missing := dict.fromkeys(finding.missing for finding in findings if finding.missing):
            parts.append(f"Not measured: {'; '.join(missing)}.")
    return parts


def _ablations(tables: Iterable[AblationTable], runs: Sequence[KeptRun]) -> list[str]:
    """All of them side by side, and what ± says."""
    head = (
        "Side by side: the error of the joints, Procrustes-aligned (PA) / root-aligned, by how "
        "much of the hand objects hide (frames in no such column are hidden less), and that of the "
        f"acceleration. {_deviation_text(runs)}"
    )
    parts = [head.strip()]
    for table in tables:
        parts += [f"**{ablation_title(table)}**", to_markdown(table)]
    return parts if len(parts) > 1 else []


def _deviation_text(runs: Sequence[KeptRun]) -> str:
    """What ± is, where there is any."""
    by_kind: dict[tuple, list[KeptRun]] = {}
    for run in runs:
        by_kind.setdefault((run.experiment, run.steps, run.data, run.split), []).append(run)
    several = [group for group in by_kind.values() if len({run.seed for run in group}) > 1]
    if not several:
        return ""
    starts = sorted({start for group in several if (start := common_start(group))})
    return f"{DEVIATION}. {common_start_text(starts)}" if starts else f"{DEVIATION}."


def _tables(tables: Iterable[FilledTable], runs: Sequence[KeptRun]) -> list[str]:
    """Measured rows of the paper's tables of ablations."""
    parts = []
    for filled in tables:
        if filled.table.number not in _ABLATIONS:
            continue
        parts.append(f"**Table {filled.table.number}. {filled.table.title}**")
        for block in blocks(filled):
            if block.is_measured:
                head = [filled.table.first_heading]
                head += [column_heading(column, True) for column in filled.table.columns]
                lines = (
                    [r.label, *map(cell_text, r.cells), _row_source(r, runs)] for r in block.rows
                )
                parts += [f"{block.title}:", grid([*head, "Measured by"], lines)]
        parts += filled.table.notes
    return parts or ["No run is of one of them."]


def _row_source(row: Row, runs: Sequence[KeptRun]) -> str:
    run, data = row.evaluations[0].run, row.evaluations[0].data
    where = f"{data.name} {data.split}, {data.frames:,} frames"
    if not isinstance(run, Run):
        return f"{run.method}; {where}"
    seeds = [str(e.run.seed) for e in row.evaluations]
    alike = [r for r in runs if (r.experiment, r.steps) == (run.experiment, run.step)]
    after = " after a common start" if common_start(alike) else ""
    several = f"seeds {', '.join(seeds)} (mean ± standard deviation{after})"
    words = several if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"{run.experiment}, step {run.step:,}, {words}; {where}"


def _runs(runs: Sequence[KeptRun]) -> str:
    head = (
        "Run", "Steps", "Seed", "Began with", "Trained on", "Minutes", "Windows/s", "Saturation",
        "Validation PA, mm", "Validation root-aligned, mm", "Test PA, mm", "Test root-aligned, mm",
        "Test accel., mm/frame²",
    )  # fmt: skip
    note = (
        "Validation: at step 0 → the last one; PA: Procrustes-aligned. At step 0 a run that began "
        "with another's model is that model under its own method: by what two of them differ "
        "there, they differ before either has learned. Saturation is the "
        "discriminator's, over the last tenth of the training: near 1 it has won and teaches "
        "nothing. Minutes are of the training alone, as its log tells, on the machine that it ran "
        "on; like windows/s those of runs that ran beside each other do not compare with those of "
        "runs alone."
    )
    return f"{note}\n\n{grid(head, map(_run_line, runs))}"


def _run_line(run: KeptRun) -> tuple[str, ...]:
    return (
        run.name, f"{run.steps:,}", str(run.seed), run.start_from or DASH, _device_text(run),
        _number(run.minutes, 1), _number(run.windows_per_s, 1), _number(run.saturation),
        f"{_number(run.start_pa_mpjpe_mm)} → {_number(run.validation_pa_mpjpe_mm)}",
        f"{_number(run.start_mpjpe_mm)} → {_number(run.validation_mpjpe_mm)}",
        _number(run.test_pa_mpjpe_mm), _number(run.test_ra_mpjpe_mm),
        _number(run.test_accel_mm_per_frame2),
    )  # fmt: skip


def _device_text(run: KeptRun) -> str:
    """`8 × NVIDIA H100, bf16`, or `CPU, 2 processes, float32`."""
    if run.device is None:
        return DASH
    device = run.device
    if run.processes > 1:
        is_cpu = device == "CPU"
        device = f"CPU, {run.processes} processes" if is_cpu else f"{run.processes} × {device}"
    return f"{device}, {run.trained_in}"


def _number(value: float | None, decimals: int = 2) -> str:
    return DASH if value is None else f"{value:,.{decimals}f}"


# ---------------------------------------------------------------------------------------- the end


def _commands(
    material: Material, infos: Iterable[tuple[Path, dict]], command: str
) -> Iterable[str]:
    """The one command where there is one, then all in their order, each kind under a sentence."""
    for folder, info in infos:
        mark, sha256 = info["synthetic"] or {}, dataset_sha256(folder)
        found = [e for e in material.evaluations.values() if e.data.sha256 == sha256]
        runs = [e.run for e in found if isinstance(e.run, Run)]
        if mark.get("benchmark") == OCCLUDED and (whole := make_commands(mark, runs)):
            yield (
                "In one, with as many processes as the preset has, which changes rounding alone; "
                "KEPT=FOLDER names another folder to keep in than results/occluded/kept:"
            )
            yield _code(whole)
        yield f"{folder.name}, {'made and ' if 'generator' in mark else ''}built:"
        yield _code(dataset_commands(info, folder.name))
        if "motions_sha256" in mark:
            yield "MOTIONS, or FILE, is one of recorded hand joints, not part of this project."
    if encodings := encoding_commands(material):
        yield "Encoded, after the training of what encodes, and before all that learns from it:"
        yield _code(encodings)
    if trainings := over_seeds(training_commands(material)):
        yield "Trained, as the checkpoints tell:"
        yield _code(trainings)
    yield "Evaluated:"
    yield _code(over_seeds(evaluation_commands(material)))
    yield "Kept here:"
    yield _code([command])


def _trained_on(runs: Sequence[KeptRun]) -> str:
    """Machines of the trainings, as their checkpoints tell."""
    found = Counter(
        (_device_text(run), run.processor, str(run.threads or DASH), run.torch)
        for run in runs
        if run.device is not None
    )
    if not found:
        return "What the runs were trained on their checkpoints do not tell."
    lines = [(str(count), *about) for about, count in found.items()]
    head = ("Runs", "Device", "Processor", "Threads a process", "torch")
    return f"Trained on:\n\n{grid(head, lines)}"


def _machine() -> str:
    # Not the commit: this folder is part of one that does not exist yet when it is written
    facts = [fact for fact in machine_facts() if fact[0] != "commit"]
    return f"Of the machine that wrote this page.\n\n{grid(('', ''), facts)}"


def _code(lines: Iterable[str]) -> str:
    return "\n".join(["```", *lines, "```"])
