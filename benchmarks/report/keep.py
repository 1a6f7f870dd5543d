"""The kept folder: measurements as small files, without paths of this machine."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.compare.claims import group_comparable
from benchmarks.compare.comparable import group_by_data, label_of
from benchmarks.compare.versus import compare_rivals
from benchmarks.evaluation.protocol import METRICS
from benchmarks.evaluation.result import EVALUATION_FILE, Evaluation, Run
from benchmarks.figures.catalogue import Drawn, draw_split
from benchmarks.figures.style import figure_bytes
from benchmarks.report.content import Measured, trained_on
from benchmarks.report.pages import draw_training, kept_page, training_groups
from benchmarks.speed.networks import Costs
from benchmarks.tables.render import to_csv
from benchmarks.tables.rows import fill_tables
from deformer.files.whole import whole_folder, write_part

PAGE = "README.md"
FIRST_LINE = "<!-- written by python -m benchmarks.report --keep -->"
"""The first line of the page; it marks a folder that the program may replace."""
_ABSOLUTE = re.compile(r"(?:^|=)(?:/\w|~|\\|[A-Za-z]:[\\/]|file:)")
_INTERVALS = ("pa_mpjpe_mm", "ra_mpjpe_mm", "accel_mm_per_frame2")


def check_can_keep(measured: Measured, out: Path, command: str) -> None:
    """Raises `ValueError` if there is nothing to keep, a path is absolute, or comparable runs have
    different or missing frames; `FileExistsError` if the folder holds something else."""
    check_is_ours(out)
    if not measured.evaluations:
        raise ValueError(
            f"{measured.results} holds no {EVALUATION_FILE}, so there is nothing to keep: python "
            "-m benchmarks.ablations --preset tiny --data shards/NAME makes some"
        )
    for name, why in measured.problems.items():
        raise ValueError(
            f"{name} cannot be compared frame by frame ({why}), and is not kept without that: make "
            "it whole, or take it away"
        )
    for line in _lines(measured):
        for value in line.values():
            _check_relative(f"evaluation {line['name']}", str(value))
    _check_relative("this command", command)
    group_comparable(measured.scored)  # raises if comparable runs have different frames
    compare_rivals(measured.items)  # likewise


def write_kept_folder(measured: Measured, out: Path, command: str) -> None:
    """Write the folder in place of an earlier one; call `check_can_keep` first. command: the
    command line that writes it, for the page."""
    tables = [t for t in fill_tables(measured.evaluations.values()) if t.recorded or t.synthetic]
    figures = list(_figures(measured))
    files = {
        PAGE: kept_page(measured, figures, command).encode(),
        "evaluations.csv": _evaluations_csv(measured).encode(),
        **{f"speed/{base}.json": _costs_json(costs) for base, costs in measured.costs.items()},
        **{f"tables/table{t.table.number}.csv": to_csv(t).encode() for t in tables},
        **{f"figures/{d.name}.png": figure_bytes(d.figure, "png") for d in figures},
    }
    with whole_folder(out) as folder:
        for name, data in files.items():
            write_part(folder / name, data)
        check_is_ours(out)  # drawing takes a while


def check_is_ours(out: Path) -> None:
    """Raises `FileExistsError` for a folder with files that no earlier call wrote."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise FileExistsError(f"{out} is no folder: give another --keep")
    if not out.exists() or not any(out.iterdir()):
        return
    path = out / PAGE
    if not path.is_file() or not path.read_bytes().startswith(f"{FIRST_LINE}\n".encode()):
        raise FileExistsError(
            f"{out} holds files and no {PAGE} that this program wrote, and the folder is replaced "
            "whole: give another --keep"
        )


def _check_relative(what: str, text: str) -> None:
    """Raises `ValueError` for an absolute path, which has a meaning on this machine only."""
    for word in re.split(r"[\s'\"]+", text):  # a command quotes paths with spaces
        if _ABSOLUTE.search(word):
            raise ValueError(
                f"{what} names {word}, an absolute path, which means nothing elsewhere: run all "
                "commands from the repository's root with relative paths, as --data shards/NAME "
                "--out results/NAME/RUN, this one too"
            )


# ------------------------------------------------------------------------------------------- files


def _lines(measured: Measured) -> Iterator[dict[str, object]]:
    """A line per evaluation and range of occlusion: the run, the data, the mean of every metric,
    some 95 % intervals, the commands. Unknown values are empty."""
    fields = dict.fromkeys((*Run.__annotations__, "predictions"), "")
    for name, evaluation in measured.evaluations.items():
        log = measured.log_of(name)
        experiment = log.experiment if log else None
        of_run = {k: v for k, v in asdict(evaluation.run).items() if k in fields}
        about = {"name": name, "what": label_of(evaluation.run), **fields, **of_run}
        about |= {f"data_{k}": v for k, v in asdict(evaluation.data).items()}
        about |= {
            "began_with": (experiment and experiment.begins_with) or "",
            "trained_in": trained_on(log) if log else "",
            "trained_by": (log and log.command) or "",
            "evaluated_by": evaluation.command,
        }
        yield from (about | _numbers(evaluation, bin) for bin in evaluation.metrics)


def _numbers(evaluation: Evaluation, bin: str) -> dict[str, object]:
    scores = evaluation.metrics[bin]
    means = {metric: (scores[metric] or {}).get("mean") for metric in METRICS}
    for metric in _INTERVALS:
        low, high = (scores[metric] or {}).get("interval") or (None, None)
        means |= {f"{metric}_low": low, f"{metric}_high": high}
    shown = {name: "" if value is None else f"{value:.6g}" for name, value in means.items()}
    return {"occlusion": bin, "frames": scores["num_frames"], **shown}


def _evaluations_csv(measured: Measured) -> str:
    lines, text = list(_lines(measured)), io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _costs_json(costs: Costs) -> bytes:
    return (json.dumps(asdict(costs), indent=1) + "\n").encode()


def _figures(measured: Measured) -> Iterator[Drawn]:
    """Three figures of the main evaluation: error by occlusion and PCK of its split, and its
    training. No photos: they are large, and we may not redistribute those of recordings."""
    main = measured.evaluations[measured.main]
    for group in group_by_data(measured.scored):
        if group[0].evaluation.data == main.data:
            yield from (replace(d, name=Path(d.name).name) for d in draw_split(group))
    log = measured.log_of(measured.main)
    for group in training_groups(measured.logs):
        if log in group:
            yield replace(draw_training(group, measured), name="training")
