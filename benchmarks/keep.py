"""Keep in the repository what was measured: small files that show the result and how to repeat it.

    python -m benchmarks.keep --results results/occluded --runs runs/occluded \\
        --out benchmarks/results/occluded-hands

Writes README.md (verdicts, tables, figures, runs, commands), claims.csv, runs.csv, tables/ (the
ablations side by side, and those of the paper that have measured rows), evaluations/ as they were
written, and a few figures. The folder is
replaced whole by the next call, which refuses one without such a README.md. Give paths relative to
the repository's root, and run the evaluations likewise: what is kept names no folder of this
machine. Exit status: 0 all well, 1 something cannot be used, 2 an option is wrong.
"""

import io
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.markup import escape

from benchmarks import claims_page
from benchmarks.evaluation import EVALUATION_FILE, Run
from benchmarks.figures.drawings import Drawn, draw_run, draw_split
from benchmarks.figures.style import MAX_LINES, PNG_DPI, figure_bytes, title_of
from benchmarks.figures.training_curves import CAPTION, training_curves
from benchmarks.findings import judge_all, make_blocks, seeds_text
from benchmarks.kept_ablations import ablation_tables
from benchmarks.kept_ablations import to_csv as ablations_csv
from benchmarks.kept_page import FIRST_LINE, KeptFigure, page
from benchmarks.kept_runs import kept_runs, log_of, runs_csv, training_commands
from benchmarks.render import to_csv
from benchmarks.report.material import Material, gather
from benchmarks.rows import fill_tables
from benchmarks.scored import Scored, group_by_split, result_name, start_of
from deformer.dataset import dataset_sha256

PAGE = "README.md"
MAX_FIGURE_BYTES = 150_000
OF_A_SPLIT = ("error_by_occlusion", "gain_by_occlusion", "pck")
OF_A_RUN = ("joint_errors", "confidence", "borrowing", "borrowed_error", "headroom", "acceleration")
"""Names of figures without pictures, which would be large."""

_ABSOLUTE = re.compile(r"(?:^|=)(?:/|~|\\|[A-Za-z]:[\\/]|file:)")
_console = Console(stderr=True)


@dataclass(frozen=True)
class Options:
    """What to keep, and where. Paths are relative to the repository's root."""

    out: Path
    """A new folder, or one that an earlier call wrote, which is replaced whole."""
    results: Path = Path("results")
    """Every evaluation.json under it is kept."""
    runs: Path = Path("runs")
    """The runs that were evaluated: minutes and curves are of their logs."""
    data: tuple[Path, ...] = ()
    """Folders of datasets; by default shards/NAME, as the evaluation names it."""
    mano_dir: Path | None = None
    """The folder with MANO's files; by default what $MANO_DIR names."""

    def __post_init__(self) -> None:
        for name in ("out", "results", "runs", "data"):
            value = getattr(self, name)
            for path in value if isinstance(value, tuple) else (value,):
                _check_relative(f"--{name}", str(path))

    @property
    def command(self) -> str:
        """That repeats this."""
        data = ["--data", *map(str, self.data)] if self.data else []
        words = ["--results", str(self.results), "--runs", str(self.runs), *data]
        return shlex.join(["python", "-m", "benchmarks.keep", *words, "--out", str(self.out)])


def keep(options: Options) -> dict[str, bytes]:
    """Write the folder; returns the contents of its files by name.

    Raises `ValueError` where there is nothing to keep, a path is absolute, frames of a run are not
    here, or the folder holds something else; `OSError` for a file that cannot be read or written.
    """
    check_is_ours(options.out)
    material = gather(options.results, options.runs, options.data, options.mano_dir)
    if not material.evaluations:
        raise ValueError(
            f"{options.results} holds no {EVALUATION_FILE}, so there is nothing to keep: python -m "
            "benchmarks.ablations --preset tiny --data shards/NAME makes some"
        )
    check_paths(material)
    _check_frames(material)
    files = collect(material, options.command)
    replace_folder(options.out, files)
    return files


def collect(material: Material, command: str) -> dict[str, bytes]:
    """Contents by name of all files; command: that writes them, for the page."""
    tables = [t for t in fill_tables(material.evaluations.values()) if t.recorded or t.synthetic]
    judged, runs = judge_all(material.scored), kept_runs(material)
    ablations = ablation_tables(material.evaluations.values())
    texts = {f"tables/table{filled.table.number}.csv": to_csv(filled) for filled in tables}
    texts |= {"claims.csv": claims_page.to_csv(judged), "runs.csv": runs_csv(runs)}
    texts["tables/ablations.csv"] = ablations_csv(ablations)
    files = {name: text.encode() for name, text in texts.items()} | {
        f"evaluations/{result_name(path, material.results)}.json": path.read_bytes()
        for path in sorted(material.results.rglob(EVALUATION_FILE))
    }
    figures = []
    for drawn in draw(material):
        name = f"figures/{drawn.name}.png"
        files[name] = small_png(drawn.figure)
        figures.append(KeptFigure(name, drawn.heading, drawn.caption))
    hashes = {e.data.sha256 for e in material.evaluations.values()}
    datasets = [folder for folder in material.datasets if dataset_sha256(folder) in hashes]
    text = page(material, datasets, judged, tables, ablations, figures, runs, command)
    return files | {PAGE: text.encode()}


# ---------------------------------------------------------------------------------------- figures


def draw(material: Material) -> Iterator[Drawn]:
    """The figures that are kept: of every split, of its first run, of its trainings."""
    problems: dict[str, str] = {}
    for group in group_by_split(material.scored):
        yield from (d for d in draw_split(group) if Path(d.name).name in OF_A_SPLIT)
        if isinstance(group[0].evaluation.run, Run):
            for drawn in draw_run(group[0], group, material.mano_dir, problems):
                if Path(drawn.name).name in OF_A_RUN:
                    yield replace(drawn, heading=f"{drawn.heading}, {group[0].name}")
    yield from draw_trainings(material)
    if problems:
        words = "; ".join(f"{name}: {why}" for name, why in problems.items())
        raise ValueError(f"not all figures can be drawn: {words}")


def draw_trainings(material: Material) -> Iterator[Drawn]:
    """Of each kind of run its first seed; evaluated on two splits, it is one training."""
    trainings: dict[tuple[str, str, int], dict[str, Scored]] = {}
    for block in make_blocks(material.scored):
        found = trainings.setdefault((block.data.name, block.base, block.like.step), {})
        for runs in block.runs.values():
            first = runs[min(runs)]
            found.setdefault(first.evaluation.run.checkpoint, first)
    for (data, base, step), found in trainings.items():
        logs = {s.name: log_of(s.name, s.evaluation, material.logs) for s in found.values()}
        shown = [log for log in logs.values() if log is not None][:MAX_LINES]
        if not shown:
            continue
        left_out = [name for name, log in logs.items() if log not in shown]
        note = f" Not drawn: {', '.join(left_out)}." if left_out else ""
        runs = [s.evaluation for s in found.values()]
        seeds = seeds_text({e.run.seed for e in runs})
        kind = "SYNTHETIC data" if runs[0].data.synthetic else "recordings"
        yield Drawn(
            f"training-{data}-{base}-step{step}",
            f"Training of {base}, {seeds}",
            f"{CAPTION}{note}",
            training_curves(shown, f"{base}, {seeds} · {kind} · {data}"),
        )


def small_png(figure: Figure) -> bytes:
    """As all figures are; where that is too large in 256 colours, and then at a lower resolution.
    Raises `ValueError` where nothing helps."""
    data = figure_bytes(figure, "png")
    for dpi in (PNG_DPI, 120, 90, 60):
        if len(data) >= MAX_FIGURE_BYTES:
            data = _with_palette(figure_bytes(figure, "png", dpi))
    if len(data) < MAX_FIGURE_BYTES:
        return data
    raise ValueError(
        f"a figure of {len(data):,} bytes at {dpi} dpi ({title_of(figure)!r}) must be below "
        f"{MAX_FIGURE_BYTES:,} to be kept: evaluate fewer runs, or raise MAX_FIGURE_BYTES"
    )


def _with_palette(png: bytes) -> bytes:
    image, buffer = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------- checks


def check_paths(material: Material) -> None:
    """Raises `ValueError` for a path that means something on this machine only."""
    for name, evaluation in material.evaluations.items():
        about = [*asdict(evaluation.run).values(), *asdict(evaluation.data).values()]
        about += [start_of(evaluation.run)] if isinstance(evaluation.run, Run) else []
        for word in [*about, *shlex.split(evaluation.command)]:
            if isinstance(word, str):
                _check_relative(f"evaluation {name}", word)
    for seed, command in training_commands(material):
        for word in shlex.split(command):
            name = re.search("--experiment ([^ ]+)", command)[1]
            _check_relative(f"the training of {name}, seed {seed},", word)


def _check_relative(what: str, word: str) -> None:
    if _ABSOLUTE.search(word):
        raise ValueError(
            f"{what} names {word}, an absolute path, which says nothing elsewhere: run all "
            "commands from the repository's root with relative paths, as --data shards/NAME --out "
            "results/NAME/RUN, this one too"
        )


def _check_frames(material: Material) -> None:
    """Raises `ValueError` where the frames of a run are not here; others' files need none."""
    for name, why in material.problems.items():
        if isinstance(material.evaluations[name].run, Run):
            raise ValueError(
                f"{name} cannot be compared frame by frame ({why}), and is not kept without that: "
                "make it whole, or take it away"
            )


def check_is_ours(out: Path) -> None:
    """Raises `FileExistsError` for a folder with files whose page no earlier call wrote."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise FileExistsError(f"{out} is no folder: give another --out")
    if not out.exists() or not any(out.iterdir()):
        return
    path = out / PAGE
    if not path.is_file() or not path.read_bytes().startswith(f"{FIRST_LINE}\n".encode()):
        raise FileExistsError(
            f"{out} holds files and no {PAGE} that this program wrote, and the folder is replaced "
            "whole: give another --out"
        )


# ---------------------------------------------------------------------------------------- command


def replace_folder(out: Path, files: dict[str, bytes]) -> None:
    """Write all files beside the folder, then put them in its place."""
    unfinished = out.with_name(f".{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, data in files.items():
        path = unfinished / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    check_is_ours(out)  # drawing takes a while
    if out.exists():
        shutil.rmtree(out)
    unfinished.rename(out)


def main() -> int:
    try:
        options = tyro.cli(Options, prog="python -m benchmarks.keep", description=__doc__)
        with _console.status("drawing the figures"):
            files = keep(options)
    except (ValueError, OSError) as error:
        words = f"[red]error:[/red] {escape(str(error))}"
        _console.print(words, soft_wrap=True, highlight=False)
        return 1
    size = sum(map(len, files.values()))
    words = f"{options.out / PAGE} and {len(files) - 1} other files, {size / 1e6:.1f} MB"
    _console.print(words, soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
