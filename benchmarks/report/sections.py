"""The sections of the report, each from all the material → HTML. What is missing is said, with the
command that makes it.
"""

import shlex

from benchmarks.ablations.presets import preset_of
from benchmarks.claims.findings import Block, Finding, judge_all
from benchmarks.claims.render import LEGEND, SHORT_HEAD, runs_text, short_line
from benchmarks.claims.render import heading as block_heading
from benchmarks.compare.comparable import group_by_split, partner, run_label
from benchmarks.evaluation.result import Data, Evaluation, Run
from benchmarks.figures.catalogue import Drawn, draw_run, draw_split, loss_partner
from benchmarks.material import Material
from benchmarks.repeat import training_command
from benchmarks.report.data import dataset_card
from benchmarks.report.html_parts import (
    command,
    definitions,
    escape,
    figure,
    heading,
    paragraph,
    table,
    what_to_run,
)
from benchmarks.report.runs import curves, runs_table, split_logs
from benchmarks.report.tables import paper_table, results_table, unmeasured
from benchmarks.tables.layout import OUR_ROW, read_published
from benchmarks.tables.rows import fill_tables
from benchmarks.versions import machine_facts
from benchmarks.words import SYNTHETIC, SYNTHETIC_MARK, data_kind

SYNTHESIZE = "python -m pipelines.synthesize --layout dexycb --out data/demo/dexycb"
BUILD = (
    "python -m pipelines.build_shards --dataset dexycb --root data/demo/dexycb --out shards/demo"
)
TRAIN = "python -m deformer.train --experiment tiny --data shards/demo --out runs/demo"
EVALUATE = (
    "python -m benchmarks.evaluate --checkpoint runs/demo --data shards/demo --split s0_test "
    "--out results/demo"
)
ABLATE = "python -m benchmarks.ablations --preset tiny --data shards/demo"


def top(material: Material) -> str:
    """The one-line result, and whether data are synthetic."""
    if material.main is None:
        return paragraph("Nothing is measured yet: the tables show what the paper says.", "result")
    main = material.evaluations[material.main]
    kinds = {e.data.synthetic for e in material.evaluations.values()}
    if kinds == {True}:
        banner = (
            f"Everything measured here is of {SYNTHETIC}, rendered by this project. It shows "
            "that the program runs from end to end. These numbers compare with each other only, "
            "never with the paper's."
        )
    elif kinds == {False}:
        banner = "Everything measured here is of recordings."
    else:
        banner = (
            f"Some of what is measured here is of {SYNTHETIC}, marked {SYNTHETIC_MARK}; it "
            "compares with nothing but other synthetic numbers."
        )
    return f'<p class="result">{_result(main)}</p><p class="banner">{escape(banner)}</p>'


def _result(main: Evaluation) -> str:
    scores, data = main.metrics["all"], main.data
    kind = "synthetic data" if data.synthetic else "recordings"
    what = run_label(main.run)
    if isinstance(main.run, Run):
        what += f", trained for {main.run.step:,} steps as {main.run.experiment}"
    pa, ra = (scores[name] for name in ("official_pa_mpjpe_mm", "ra_mpjpe_mm"))
    interval = pa.get("interval")
    words = (
        f"On {kind} ({data.name}, {data.split}, {data.frames:,} frames) the joints are "
        f"{{}} off on average after Procrustes alignment, done as the datasets' evaluators do it"
    )
    if interval:
        words += f" (95 % interval {interval[0]:.1f} to {interval[1]:.1f})"
    words += f", and {ra['mean']:.1f} mm with only the wrist aligned. Model: {what}."
    html = escape(words).replace("{}", f"<strong>{pa['mean']:.1f} mm</strong>")
    if data.dataset == "dexycb":
        value = read_published()[1][OUR_ROW]["all"][0]
        html += escape(
            f" The paper reports {value} mm on DexYCB's recordings"
            + (", which this does not compare with." if data.synthetic else ".")
        )
    return html


def about(_: Material) -> str:
    return paragraph(
        "Deformer (Fu et al., ICCV 2023) finds the pose of a hand in every frame of a video. It "
        "looks at a window of seven frames, predicts in each the pose and how it moves to the next "
        "and the previous frame, deforms every frame's pose to the frame in the middle, and "
        "averages them, weighted by a confidence that it learns. So a hand that an object hides in "
        "one frame is taken from frames where it is seen."
    ) + paragraph(
        "Errors are distances between predicted and true joints in millimetres, lower is better. "
        "PA (Procrustes-aligned): position, rotation and size are made to fit first, so the shape "
        "of the pose counts alone. Root-aligned: only the wrist is made to fit. AUC: the share of "
        "joints within a distance, averaged over distances up to 50 mm, higher is better. "
        "Intervals: 95 %, by drawing recordings with replacement."
    )


def data_section(material: Material) -> str:
    if not material.datasets:
        return what_to_run(
            "No dataset is here. These make a synthetic one and build it:", SYNTHESIZE, BUILD
        )
    parts = []
    for folder in material.datasets:
        try:
            sheet = material.results / folder.name / "shards.png"
            parts.append(dataset_card(folder, sheet))
        except (FileNotFoundError, ValueError) as error:
            parts.append(paragraph(str(error)))
    return "".join(parts)


def training_section(material: Material) -> str:
    if not material.logs:
        return what_to_run(f"No run is in {material.runs}. This trains a small one:", TRAIN)
    shown, others = split_logs(material.logs, material.evaluations)
    parts = [curves(shown, material.evaluations), runs_table(shown)]
    if others:
        names = ", ".join(log.name for log in others)
        parts.append(paragraph(f"Also there, not evaluated: {names}.", "note"))
    return "".join(parts)


def tables_section(material: Material) -> str:
    parts = []
    if not material.evaluations:
        parts.append(
            what_to_run(
                "Nothing is evaluated yet: the tables show the published rows only. This scores a "
                "run:", EVALUATE,
            )
        )  # fmt: skip
    else:
        parts += [heading("All evaluations"), results_table(material.evaluations)]
    filled = fill_tables(material.evaluations.values())
    return "".join([*parts, *map(paper_table, filled)])


_NOTHING_TO_COMPARE = (
    "Nothing to compare yet: that takes runs that differ in one choice, at the same step. These "
    "are trained and evaluated by:"
)


def claims_section(material: Material) -> str:
    """Of every block of runs that may be compared, what became of the paper's claims."""
    try:
        judged = judge_all(material.scored)
    except ValueError as error:  # such as runs of different frames
        return paragraph(str(error))
    if not judged:
        return what_to_run(_NOTHING_TO_COMPARE, ABLATE)
    parts = [_claims_of(block, findings) for block, findings in judged]
    if any(finding.is_measured for _, findings in judged for finding in findings):
        parts.insert(0, paragraph(LEGEND, "note"))
    return "".join(parts)


def _claims_of(block: Block, findings: list[Finding]) -> str:
    measured = [finding for finding in findings if finding.is_measured]
    parts = [heading(block_heading(block)), paragraph(runs_text(block), "note")]
    if not measured:
        parts.append(what_to_run(_NOTHING_TO_COMPARE, _ablations(block.like, block.data)))
        return "".join(parts)
    parts.append(table(SHORT_HEAD, map(short_line, measured), words=(0, 1, 2, 3)))
    if missing := dict.fromkeys(finding.missing for finding in findings if finding.missing):
        words = f"Claims that are not measured: {'; '.join(missing)}. These runs are made by:"
        parts.append(what_to_run(words, _ablations(block.like, block.data)))
    return "".join(parts)


def _ablations(run: Run, data: Data) -> str:
    """The command that makes all runs that one is compared with."""
    preset = preset_of(run.experiment) or "paper"
    return f"python -m benchmarks.ablations --preset {preset} --data shards/{data.name}"


def figures_section(material: Material) -> str:
    """Of every split the figures of all runs, then those of its first run."""
    parts = []
    problems = dict(material.problems)
    for group in group_by_split(material.scored):
        data, first = group[0].evaluation.data, group[0]
        title = f"{data.name}, {data.split} ({data_kind(data)})"
        parts.append(heading(f"{title}: all runs"))
        parts += map(_figure, draw_split(group))
        parts.append(heading(f"{title}: {run_label(first.evaluation.run)}, {first.name}"))
        parts += map(_figure, draw_run(first, group, material.mano_dir, problems))
    if not parts:
        parts.append(what_to_run("There are no predictions to draw. This makes some:", EVALUATE))
    if problems:
        parts.append(heading("Not drawn"))
        parts += (paragraph(f"{name}: {why}") for name, why in problems.items())
    return "".join(parts)


def _figure(drawn: Drawn) -> str:
    caption = f"{drawn.heading}. {drawn.caption}"
    return figure(drawn.figure, caption, drawn.is_photo, drawn.is_wide)


def how_section(material: Material) -> str:
    parts = [heading("Commands")]
    shown, _ = split_logs(material.logs, material.evaluations)
    trainings = [training_command(log, material.evaluations) for log in shown]
    if any(trainings):
        parts.append(paragraph("Training, as the checkpoints tell:"))
        parts.append(command("\n".join(text for text in trainings if text)))
    if material.evaluations:
        parts.append(paragraph("Evaluation:"))
        parts.append(command("\n".join(e.command for e in material.evaluations.values())))
    parts.append(paragraph("Tables, claims, figures and this page:"))
    parts.append(command("\n".join(_programs(material))))
    seeds = sorted({e.run.seed for e in material.evaluations.values() if isinstance(e.run, Run)})
    parts.append(
        paragraph(
            f"Seeds: {', '.join(map(str, seeds)) or 'none yet'}. Bootstrap of the intervals: 0."
        )
    )
    parts.append(heading("Versions and hardware"))
    parts.append(paragraph("Of the machine that wrote this page.", "note"))
    parts.append(definitions(machine_facts()))
    return "".join(parts)


def _programs(material: Material) -> list[str]:
    """Commands that write tables, claims, figures and this page from the same folders."""
    results = ["--results", str(material.results)]
    runs = ["--runs", str(material.runs)]
    data = ["--data", *map(str, material.data)] if material.data else []
    hand = ["--mano-dir", str(material.mano_dir)] if material.mano_dir else []
    options = {
        "tables": results,
        "claims": results + data,
        "figures": results + data + hand,
        "report": results + runs + data + hand,
    }
    return [shlex.join(["python", "-m", f"benchmarks.{name}", *o]) for name, o in options.items()]


def missing_section(material: Material) -> str:
    parts = [paragraph("Rows of the paper that nobody measured on its recordings yet:")]
    filled = fill_tables(material.evaluations.values())
    for text, rows in unmeasured(filled).items():
        parts.append(paragraph(" · ".join(rows), "note") + command(text))
    comparisons = _missing_comparisons(material)
    if comparisons:
        parts.append(heading("Comparisons that a figure lacks"))
        parts += (paragraph(why) + command(text) for why, text in comparisons)
    return "".join(parts)


def _missing_comparisons(material: Material) -> list[tuple[str, str]]:
    """What has no partner to be compared with, and the command that makes it."""
    missing = []
    for group in group_by_split(material.scored):
        first = group[0]
        run, data = first.evaluation.run, first.evaluation.data
        base = f"{_ablations(run, data)} --only"
        if loss_partner(first, group) is None:
            missing.append((f"{data.name}: maxMSE beside MSE (Fig. 3)", f"{base} full mse"))
        if partner(first, group, fusion="center") is None and run.fusion != "center":
            why = f"{data.name}: the gain of the fusion over a run without it"
            missing.append((why, f"{base} full center"))
    return missing
