"""Keep in the repository what was measured: small files that show the result and how to repeat it.

    python -m benchmarks.keep --results results/occluded --runs runs/occluded \\
        --out benchmarks/results/occluded-hands

Writes README.md (verdicts, tables, figures, runs, commands), claims.csv and .md, runs.csv, tables/
of the paper that have measured rows, evaluations/ as they were written, a few figures, and
files.sha256, the list of all that. The folder is replaced whole by the next call, which refuses one
that holds anything else. Give paths relative to the repository's root, and run the evaluations
likewise: what is kept names no folder of this machine. Exit status: 0 all well, 1 something cannot
be used, 2 an option is wrong.
"""

import hashlib
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

from benchmarks import claims
from benchmarks.evaluation import EVALUATION_FILE, Run
from benchmarks.figures.drawings import Drawn, draw_run, draw_split, group_by_split
from benchmarks.figures.scored import result_name
from benchmarks.figures.style import MAX_LINES, PNG_DPI, figure_bytes, title_of
from benchmarks.figures.training_curves import training_curves
from benchmarks.figures.training_log import TrainingLog
from benchmarks.findings import CLAIMS, Block, judge, make_blocks
from benchmarks.kept_page import KeptFigure, page
from benchmarks.kept_runs import kept_runs, log_of, runs_csv, training_commands
from benchmarks.render import to_csv, to_markdown
from benchmarks.report.material import Material, gather
from benchmarks.rows import FilledTable, fill_tables
from deformer.dataset import dataset_sha256

LIST_FILE = "files.sha256"
"""Names and hashes of all other files, as sha256sum has them."""
MAX_FIGURE_BYTES = 150_000
OF_A_SPLIT = ("error_by_occlusion", "pck")
OF_A_RUN = ("joint_errors", "confidence", "borrowing", "borrowed_error", "headroom", "acceleration")
"""Names of figures without pictures, which would be large."""

_ABSOLUTE = re.compile(r"(?:^|=)(?:/|~|\\|[A-Za-z]:[\\/]|file:)")
_console = Console(stderr=True)


@dataclass(frozen=True)
class Options:
    """What to keep, and where. Paths are relative to the repository's root."""

    out: Path
    """A new folder, or one that an earlier call wrote, which is replaced."""
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
    judged = [(block, [judge(block, c) for c in CLAIMS]) for block in make_blocks(material.scored)]
    # Such as what others start from: nothing is compared with it
    judged = [item for item in judged if any(f.estimate is not None for f in item[1])]
    runs = kept_runs(material)
    texts = _table_texts(tables) | {
        "claims.csv": claims.to_csv(judged),
        "claims.md": claims.to_markdown(judged),
        "runs.csv": runs_csv(runs),
    }
    files = {name: text.encode() for name, text in texts.items()} | _evaluation_files(material)
    figures = []
    for drawn in draw(material):
        name = f"figures/{drawn.name}.png"
        files[name] = small_png(drawn.figure)
        figures.append(KeptFigure(name, drawn.heading, drawn.caption))
    hashes = {e.data.sha256 for e in material.evaluations.values()}
    datasets = [folder for folder in material.datasets if dataset_sha256(folder) in hashes]
    text = page(material, datasets, judged, tables, figures, runs, command)
    return files | {"README.md": text.encode()}


def _table_texts(tables: list[FilledTable]) -> dict[str, str]:
    return {
        f"tables/table{filled.table.number}{suffix}": write(filled)
        for filled in tables
        for suffix, write in ((".csv", to_csv), (".md", to_markdown))
    }


def _evaluation_files(material: Material) -> dict[str, bytes]:
    results = material.results
    return {
        f"evaluations/{result_name(path, results)}.json": path.read_bytes()
        for path in sorted(results.rglob(EVALUATION_FILE))
    }


# ---------------------------------------------------------------------------------------- figures


def draw(material: Material) -> Iterator[Drawn]:
    """The figures that are kept: of every split, of its first run, of its trainings."""
    problems: dict[str, str] = {}
    trainings: set[tuple[str, ...]] = set()
    for group in group_by_split(material.scored):
        yield from (d for d in draw_split(group) if Path(d.name).name in OF_A_SPLIT)
        if isinstance(group[0].evaluation.run, Run):
            for drawn in draw_run(group[0], group, material.mano_dir, problems):
                if Path(drawn.name).name in OF_A_RUN:
                    yield replace(drawn, heading=f"{drawn.heading}, {group[0].name}")
        for block in make_blocks(group):
            logs = _logs_of(block, material)
            names = tuple(log.name for log in logs)
            if logs and names not in trainings:  # evaluated on two splits, it is one training
                trainings.add(names)
                yield _draw_training(logs, block)
    if problems:
        words = "; ".join(f"{name}: {why}" for name, why in problems.items())
        raise ValueError(f"not all figures can be drawn: {words}")


def _logs_of(block: Block, material: Material) -> list[TrainingLog]:
    """Of the runs of the first seed, one per kind, as many as one figure shows."""
    seed = min(min(runs) for runs in block.runs.values())
    chosen = [runs[seed] for runs in block.runs.values() if seed in runs]
    logs = [log_of(scored.name, scored.evaluation, material.logs) for scored in chosen]
    return [log for log in logs if log is not None][:MAX_LINES]


def _draw_training(logs: list[TrainingLog], block: Block) -> Drawn:
    data, seed = block.data, min(min(runs) for runs in block.runs.values())
    kind = "SYNTHETIC data" if data.synthetic else "recordings"
    return Drawn(
        f"training-{data.name}-{block.base}-step{block.like.step}",
        f"Training of {block.base}, seed {seed}",
        "From above: the errors on the validation split, which should fall and then level off; the "
        "sum of all losses, which are not the same in all runs; the learning rate; the "
        "discriminator's loss; and its saturation: near 1 for long, it has won and teaches "
        "nothing.",
        training_curves(logs, f"{block.base}, seed {seed} · {kind} · {data.name}"),
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
        for word in [*about, *shlex.split(evaluation.command)]:
            if isinstance(word, str):
                _check_relative(f"evaluation {name}", word)
    for seed, command in training_commands(material):
        for word in shlex.split(command):
            _check_relative(f"the training of {command.split()[4]}, seed {seed},", word)


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
    """Raises `FileExistsError` where a folder holds a file that no earlier call wrote."""
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise FileExistsError(f"{out} is no folder: give another --out")
    path = out / LIST_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    ours = {LIST_FILE, *(line.partition("  ")[2] for line in lines)}
    for found in sorted(out.rglob("*")):
        name = found.relative_to(out).as_posix()
        if (found.is_symlink() or not found.is_dir()) and name not in ours:
            raise FileExistsError(
                f"{out} holds {name}, which no call of this program wrote, and the folder is "
                "replaced whole: move the file away, or give another --out"
            )


# ---------------------------------------------------------------------------------------- command


def replace_folder(out: Path, files: dict[str, bytes]) -> None:
    """Write all files beside the folder, then put them in its place."""
    unfinished = out.with_name(f".{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    for name, data in (files | {LIST_FILE: "".join(lines).encode()}).items():
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
    words = f"{options.out / 'README.md'} and {len(files)} other files, {size / 1e6:.1f} MB"
    _console.print(words, soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
