"""Keep in the repository what was measured: small files that show the result and how to repeat it.

    python -m benchmarks.keep --results results/occluded --runs runs/occluded \\
        --out benchmarks/results/occluded-hands

Writes README.md (verdicts, tables, figures, runs, commands), claims.csv, runs.csv, figures.csv
(what figures of runs show, of every run), tables/ (the ablations side by side, and those of the
paper that have measured rows), evaluations/ as they were written, and a few figures. The folder is
replaced whole by the next call, which refuses one without such a README.md. Give paths relative to
the repository's root, and run the evaluations likewise: what is kept names no folder of this
machine. Exit status: 0 all well, 1 something cannot be used, 2 an option is wrong.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.claims import render as claims_page
from benchmarks.claims.findings import judge_all
from benchmarks.evaluation.result import EVALUATION_FILE
from benchmarks.evaluation.scored import result_name
from benchmarks.keep.ablation_table import ablation_tables
from benchmarks.keep.ablation_table import to_csv as ablations_csv
from benchmarks.keep.checks import check_frames, check_paths, check_relative
from benchmarks.keep.figure_numbers import figure_numbers, figures_csv
from benchmarks.keep.figures import draw, small_png
from benchmarks.keep.folder import PAGE, check_is_ours, replace_folder
from benchmarks.keep.page import KeptFigure, page
from benchmarks.keep.runs import kept_runs, runs_csv
from benchmarks.material import Material, gather
from benchmarks.tables.render import to_csv
from benchmarks.tables.rows import fill_tables
from deformer.data.dataset import dataset_sha256
from deformer.program.console import PlainConsole, run_command

_console = PlainConsole()


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
                check_relative(f"--{name}", str(path))

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
    check_frames(material)
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
    texts["figures.csv"] = figures_csv(figure_numbers(material.scored))
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


def run(options: Options) -> None:
    """Write the folder, and say what is in it."""
    with _console.status("drawing the figures"):
        files = keep(options)
    size = sum(map(len, files.values()))
    words = f"{options.out / PAGE} and {len(files) - 1} other files, {size / 1e6:.1f} MB"
    _console.print(words, soft_wrap=True)


def main() -> int:
    prog = "python -m benchmarks.keep"
    return run_command(lambda: run(tyro.cli(Options, prog=prog, description=__doc__)))


if __name__ == "__main__":
    sys.exit(main())
