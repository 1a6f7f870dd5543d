"""The kept folder: what was measured, as small files that name no place of this machine."""

import csv
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image

from benchmarks.compare.claims import make_blocks
from benchmarks.compare.comparable import group_by_split, label_of
from benchmarks.evaluation.protocol import HEADLINE, METRICS
from benchmarks.evaluation.result import EVALUATION_FILE, Evaluation
from benchmarks.figures.catalogue import Drawn, draw_split
from benchmarks.figures.style import figure_bytes
from benchmarks.report.content import Material, trained_on, training_minutes
from benchmarks.report.pages import (
    draw_training,
    kept_page,
    training_command,
    training_groups,
)
from benchmarks.tables.render import to_csv
from benchmarks.tables.rows import fill_tables
from deformer.files.whole import whole_folder, write_part

PAGE = "README.md"
FIRST_LINE = "<!-- written by python -m benchmarks.report --keep -->"
"""Of the page; by it the program knows a folder that it may replace."""
_ABSOLUTE = re.compile(r"(?:^|=)(?:/|~|\\|[A-Za-z]:[\\/]|file:)")


def check_can_keep(material: Material, out: Path, command: str) -> None:
    """Raises `ValueError` where there is nothing to keep, a path is absolute or frames of a run are
    not here or not those of others, `FileExistsError` where the folder holds something else."""
    check_is_ours(out)
    if not material.evaluations:
        raise ValueError(
            f"{material.results} holds no {EVALUATION_FILE}, so there is nothing to keep: python "
            "-m benchmarks.ablations --preset tiny --data shards/NAME makes some"
        )
    for name, why in material.problems.items():
        raise ValueError(
            f"{name} cannot be compared frame by frame ({why}), and is not kept without that: make "
            "it whole, or take it away"
        )
    make_blocks(material.scored)  # raises where runs that compare are of different frames
    _check_paths(material, command)


def keep(material: Material, out: Path, command: str) -> None:
    """Write the folder, replacing an earlier one. command: that calls this, for the page.

    Raises what `check_can_keep` does.
    """
    check_can_keep(material, out, command)
    tables = [t for t in fill_tables(material.evaluations.values()) if t.recorded or t.synthetic]
    figures = list(_figures(material))
    files = {
        PAGE: kept_page(material, figures, command).encode(),
        "evaluations.csv": _evaluations_csv(material).encode(),
        **{f"tables/table{t.table.number}.csv": to_csv(t).encode() for t in tables},
        **{f"figures/{d.name}.png": _small_png(d) for d in figures},
    }
    with whole_folder(out) as folder:
        for name, data in files.items():
            write_part(folder / name, data)
        check_is_ours(out)  # drawing takes a while


def check_is_ours(out: Path) -> None:
    """Raises `FileExistsError` for a folder with files whose page no earlier call wrote."""
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


def _check_paths(material: Material, command: str) -> None:
    """Raises `ValueError` for a path that means something on this machine only."""
    for name, e in material.evaluations.items():
        about = [*asdict(e.run).values(), *asdict(e.data).values(), *shlex.split(e.command)]
        if log := material.log_of(name):
            start = log.experiment.begins_with if log.experiment else None
            about += [start, *shlex.split(training_command(log) or "")]
        for word in about:
            if isinstance(word, str):
                _check_relative(f"evaluation {name}", word)
    for word in shlex.split(command):
        _check_relative("this command", word)


def _check_relative(what: str, word: str) -> None:
    if _ABSOLUTE.search(word):
        raise ValueError(
            f"{what} names {word}, an absolute path, which means nothing elsewhere: run all "
            "commands from the repository's root with relative paths, as --data shards/NAME --out "
            "results/NAME/RUN, this one too"
        )


# ------------------------------------------------------------------------------------------- files


def _evaluations_csv(material: Material) -> str:
    """A line per evaluation and range of occlusion: the run, the data, the mean of every metric,
    95 % intervals of the first ones, the commands. What is not known is empty."""
    lines = [line for item in material.evaluations.items() for line in _lines(material, *item)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in line.items()} for line in lines)
    return text.getvalue()


def _lines(material: Material, name: str, evaluation: Evaluation) -> Iterator[dict[str, object]]:
    run, data, log = evaluation.run, evaluation.data, material.log_of(name)
    fields = ("experiment", "seed", "step", "hand", "trained_on", "precision", "config")
    about = {"name": name, "what": label_of(run)}
    about |= {field: getattr(run, field, None) for field in fields}
    about["began_with"] = log.experiment.begins_with if log and log.experiment else None
    about |= {
        "trained_in": trained_on(log) if log else None,
        "minutes": training_minutes(log) if log else None,
        "data": data.name,
        "split": data.split,
        "synthetic": "yes" if data.synthetic else "no",
        "dataset_sha256": data.sha256,
    }
    commands = {"evaluated_by": evaluation.command}
    commands["trained_by"] = training_command(log) if log else None
    for occlusion, scores in evaluation.metrics.items():
        numbers = {"occlusion": occlusion, "frames": scores["num_frames"]}
        numbers |= {metric: (scores[metric] or {}).get("mean") for metric in METRICS}
        for metric in HEADLINE:
            low, high = (scores[metric] or {}).get("interval") or (None, None)
            numbers |= {f"{metric}_low": low, f"{metric}_high": high}
        yield about | numbers | commands


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _figures(material: Material) -> Iterator[Drawn]:
    """Three of the main evaluation: error by occlusion and PCK of its split, and its training. No
    pictures: they would be large, and those of recordings are not ours to pass on."""
    main = material.evaluations[material.main]
    for group in group_by_split(material.scored):
        if group[0].evaluation.data == main.data:
            yield from (replace(d, name=Path(d.name).name) for d in draw_split(group))
    log = material.log_of(material.main)
    for group in training_groups(material.evaluated_logs):
        if log in group:
            yield replace(draw_training(group, material.evaluations), name="training")


def _small_png(drawn: Drawn) -> bytes:
    """In 256 colours."""
    image = Image.open(io.BytesIO(figure_bytes(drawn.figure, "png"))).convert("RGB")
    buffer = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
