"""The pages: measurements in the templates `report.html` and `kept.md`."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from benchmarks.ablations.presets import preset_of
from benchmarks.compare.claims import judge_all
from benchmarks.compare.comparable import group_by_data, label_of
from benchmarks.compare.published import read_published
from benchmarks.compare.versus import compare_rivals
from benchmarks.evaluation.result import Run
from benchmarks.evaluation.training_log import TrainingLog
from benchmarks.figures.catalogue import Drawn, draw_run, draw_split
from benchmarks.figures.curves import TRAINING_CAPTION, training_curves
from benchmarks.figures.style import figure_bytes
from benchmarks.report.content import (
    Measured,
    claims_grid,
    dataset_facts,
    machine_facts,
    results_grids,
    splits_grid,
    trained_on,
    trainings_grid,
)
from benchmarks.report.rivals import RIVALS_LEGEND, commands_of_costs, rivals_grid
from benchmarks.tables.layout import OUR_ROW
from benchmarks.tables.render import blocks, grid
from benchmarks.tables.rows import DASH, FilledTable, fill_tables
from deformer.experiments import base_of
from deformer.video.page import PAGE_SUFFIX

_FOLDER = Path(__file__).parent
_PHOTO_DPI = 150
_SHEET_PX = 1200
EVALUATE = (
    "python -m benchmarks.evaluate --checkpoint runs/demo --data shards/demo --split s0_test "
    "--out results/demo"
)
LEGEND = (
    "Each line compares two kinds of runs on the same frames, in the order of the claim, by their "
    "PA-MPJPE in mm unless it says otherwise: a difference below 0 supports the claim. A claim "
    "holds where the whole 95 % interval is below 0, does not hold where it is above, and is too "
    "noisy to say otherwise. The interval covers the choice of recordings and, with several seeds, "
    "chance in the part of the training that the runs do not share; with one seed that chance is "
    "not known. By chance about one line in twenty gets a verdict. Paper: the difference that the "
    "paper prints, on its own recordings."
)


def render(name: str, **values: object) -> str:
    """Fill a template of this folder; a missing value is an error."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    filters = {"blocks": blocks, "embedded": _embedded, "grid": grid, "unbroken": _unbroken}
    environment.filters |= filters
    return environment.get_template(name).render(legend=LEGEND, **values)


def _unbroken(text: str) -> str:
    """Keep `5.22 (89.6)`, `9.51 ± 0.03` and `[−0.1, +0.2]` each on one line; a line may break
    between two means with deviations."""
    text = text.replace(" ± ", "\u00a0±\u00a0").replace(", ", ",\u00a0")
    text = text.replace(" / ", "\u00a0/ ")
    return text if "±" in text else text.replace(" (", "\u00a0(")


def report_page(measured: Measured, runs: Path, mano_dir: Path | None, command: str) -> str:
    """The HTML report. command: the command line that writes it."""
    evaluations = measured.evaluations
    tables = fill_tables(evaluations.values())
    problems = dict(measured.problems)
    first, figures = _draw(measured, mano_dir, problems)
    main = None if measured.main is None else evaluations[measured.main]
    model, preset = "" if main is None else label_of(main.run), "tiny"
    if main is not None and isinstance(main.run, Run):
        model += f", trained for {main.run.step:,} steps as {main.run.experiment}"
        preset = preset_of(main.run.experiment) or preset
    return render(
        "report.html",
        **_shared_parts(measured),
        style=(_FOLDER / "report.css").read_text(),
        main=main,
        model=model,
        published=read_published()[1][OUR_ROW]["all"][0],
        first=first,
        clips=sorted(p.relative_to(measured.results) for p in _pages_of_clips(measured.results)),
        figures=figures,
        problems=problems,
        runs=runs,
        curves=[draw_training(group, measured) for group in training_groups(measured.logs)],
        trainings=trainings_grid(measured.logs),
        tables=tables,
        unmeasured=_unmeasured(tables),
        trained=list(filter(None, (log.command for log in measured.logs))),
        evaluated=[e.command for e in evaluations.values()],
        evaluate=EVALUATE,
        preset=preset,
        command=command,
        machine=machine_facts(),
    )


def _pages_of_clips(results: Path) -> Iterable[Path]:
    """What `deformer.predict` wrote among the results."""
    return results.rglob(f"*{PAGE_SUFFIX}")


def kept_page(measured: Measured, figures: list[Drawn], command: str) -> str:
    """The Markdown page of a kept folder. command: the command line that writes it."""
    main, log = measured.evaluations[measured.main], measured.log_of(measured.main)
    logs = filter(None, map(measured.log_of, measured.evaluations))
    return render(
        "kept.md",
        **_shared_parts(measured),
        names=sorted({e.data.name for e in measured.evaluations.values()}),
        figures=figures,
        machines=sorted({trained_on(log) for log in logs} - {DASH}),
        commands=[*filter(None, [log and log.command]), main.command, command],
    )


def _shared_parts(measured: Measured) -> dict[str, object]:
    """The values that both pages show."""
    evaluations = measured.evaluations.values()
    try:
        claims, versus, error = _claims(measured), compare_rivals(measured.items), ""
    except ValueError as found:  # such as runs with different frames
        claims, versus, error = [], [], str(found)
    return {
        "kinds": sorted({e.data.synthetic for e in evaluations}),
        "datasets": [_card(folder, measured.results) for folder in measured.datasets],
        "results": results_grids(evaluations),
        "claims": claims,
        "claims_error": error,
        "rivals": [rivals_grid(v, measured.costs) for v in versus],
        "rivals_legend": RIVALS_LEGEND,
        "rivals_unmeasured": commands_of_costs(versus, measured.costs, str(measured.results)),
    }


def _card(folder: Path, results: Path) -> dict[str, object]:
    """Facts of a dataset, with the contact sheet of `pipelines.inspect` if there is one."""
    try:
        facts, splits = dataset_facts(folder), splits_grid(folder)
    except (FileNotFoundError, ValueError) as error:
        return {"name": folder.name, "error": str(error)}
    sheet = results / folder.name / "shards.png"
    return {
        "name": folder.name, "error": "", "facts": facts, "splits": splits,
        "sheet": _embedded_sheet(sheet) if sheet.is_file() else "",
    }  # fmt: skip


def _claims(measured: Measured) -> list[dict[str, object]]:
    return [
        {
            "grid": claims_grid(group, findings),
            "missing": list(dict.fromkeys(f.missing for f in findings if f.missing)),
        }
        for group, findings in judge_all(measured.scored)
    ]


def _unmeasured(tables: Iterable[FilledTable]) -> dict[str, list[str]]:
    """Command → the rows without a measurement that it measures, as `Table 1: A; B`."""
    commands: dict[str, list[str]] = {}
    for filled in tables:
        for command, rows in filled.unmeasured.items():
            line = f"Table {filled.table.number}: {'; '.join(rows)}"
            commands.setdefault(command, []).append(line)
    return commands


# ----------------------------------------------------------------------------------------- figures


def _draw(
    measured: Measured, mano_dir: Path | None, problems: dict[str, str]
) -> tuple[list[Drawn], list[Drawn]]:
    """The page's first picture, if there is one, and all others: those of every split, and those of
    one run on it, the main run if it is there."""
    first, others = [], []
    for group in group_by_data(measured.scored):
        shown = next((s for s in group if s.name == measured.main), group[0])
        others += draw_split(group)
        for drawn in draw_run(shown, mano_dir, problems):
            is_first = shown.name == measured.main and drawn.name.endswith("/hands")
            (first if is_first else others).append(drawn)
    return first, others


def training_groups(logs: Iterable[TrainingLog]) -> list[list[TrainingLog]]:
    """Groups of trainings with the same base, seed and number of steps."""
    groups: dict[tuple, list[TrainingLog]] = {}
    for log in logs:
        e = log.experiment
        key = (base_of(e.name), e.stream.seed) if e is not None else (log.name, None)
        groups.setdefault((*key, log.last_step), []).append(log)
    return list(groups.values())


def draw_training(group: list[TrainingLog], measured: Measured) -> Drawn:
    """The curves of a group; the title says on which data its runs were evaluated."""
    found = [e.data for name, e in measured.evaluations.items() if measured.log_of(name) in group]
    kinds, names = sorted({d.kind for d in found}), sorted({d.name for d in found})
    data = f"{', '.join(kinds)} · {', '.join(names)}" if found else "data not known"
    name, experiment = group[0].name, group[0].experiment
    if len(group) > 1:
        name = f"{len(group)} runs of {base_of(experiment.name)}, seed {experiment.stream.seed}"
    figure = training_curves(group, f"{name}\n{data}")
    return Drawn(f"training/{group[0].name}", f"Training, {name}", TRAINING_CAPTION, figure)


def _embedded(drawn: Drawn) -> str:
    """A figure as the source of an `img`: SVG, or PNG if it has photos."""
    if drawn.is_photo:
        return _data("image/png", figure_bytes(drawn.figure, "png", _PHOTO_DPI))
    return _data("image/svg+xml", figure_bytes(drawn.figure, "svg"))


def _embedded_sheet(path: Path) -> str:
    """A picture file, scaled down, as JPEG."""
    with Image.open(path) as read:
        image = read.convert("RGB")
    image.thumbnail((_SHEET_PX, 10 * _SHEET_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return _data("image/jpeg", buffer.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
