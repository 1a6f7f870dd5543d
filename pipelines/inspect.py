"""Show what is inside a built dataset: its counts in tables, and crops with their labels drawn.

    python -m pipelines.inspect shards/dexycb
    python -m pipelines.inspect shards/dexycb --split s0_test --sheet occluded.png --rows 8
    python -m pipelines.inspect shards/dexycb --split s0_test --coco s0_test.json

Tables come from frames.parquet alone; the sheet reads the few clips that it shows.

Exit status: 0 all well, 1 no dataset, or no frame to show.
"""

import sys
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tyro
from pycocotools import mask as coco_mask
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from deformer.data.clip import SPLIT_COLUMNS, decode_labels
from deformer.data.dataset import (
    FRAMES_FILE,
    labels_of,
    read_info,
    read_member,
    read_table,
    split_column,
    split_name,
)
from deformer.data.occlusion_bins import EDGES, bin_of
from deformer.files.images import decode_jpeg
from deformer.files.whole import write_whole
from deformer.program.console import PlainConsole, run_program
from deformer.program.least import check_least
from pipelines.inspection.coco import write_coco
from pipelines.inspection.contact_sheet import Tile, draw_sheet

BIN_NAMES = (*(f"{100 * a:.0f}–{100 * b:.0f}" for a, b in pairwise(EDGES)), "unknown")
"""Occlusion, %."""
_TEXT_COLUMNS = ["clip", "side", "object", *SPLIT_COLUMNS, "reason", "shard"]
_COLUMNS = [
    *_TEXT_COLUMNS, "clip_index", "frame", "is_halo", "valid", "occlusion", "visibility",
    "crop_xywh", "offset", "size", "crc32", "labels_offset", "labels_size", "labels_crc32",
]  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Which dataset, and what to write."""

    dataset: tyro.conf.Positional[Path]
    """The folder of the built dataset."""
    sheet: Path | None = None
    """The contact sheet; by default results/<name of the dataset>/shards.png."""
    coco: Path | None = None
    """Write the crops' boxes, keypoints and masks in COCO's format to this file."""
    split: str | None = None
    """Only this split, in all that is shown and written: s0_train, evaluation, …"""
    rows: int = 4
    """Of the contact sheet."""
    columns: int = 6
    """Of the contact sheet."""
    seed: int = 0
    """Of the choice of frames on the contact sheet."""

    def __post_init__(self) -> None:
        check_least(self, "--", rows=1, columns=1)
        if self.sheet and self.sheet.suffix.lower() != ".png":
            raise ValueError(f"--sheet {self.sheet} must be a .png file")


def read_frames(folder: Path, info: dict, split: str | None) -> pa.Table:
    """The rows of `frames.parquet` in a split (None: all), without the halo; text as codes."""
    path = folder / FRAMES_FILE
    frames = read_table(path, _COLUMNS, _TEXT_COLUMNS)
    wanted = pc.invert(frames["is_halo"])
    if selected := split_column(info, split):
        column, part = selected
        wanted = pc.and_kleene(wanted, pc.equal(frames[column].cast(pa.string()), part))
    return frames.filter(wanted).unify_dictionaries()


def occlusion_bins(occlusion: pa.ChunkedArray) -> np.ndarray:
    """Indices into `BIN_NAMES` (N,)."""
    bins = bin_of(occlusion.to_numpy())  # null becomes NaN
    return np.where(bins < 0, len(BIN_NAMES) - 1, bins)


def _count_by(
    column: pa.ChunkedArray, valid: np.ndarray, bins: np.ndarray
) -> dict[str, tuple[int, np.ndarray]]:
    """By value of a column: its frames, and its valid frames in each occlusion bin (5,)."""
    encoded = column.combine_chunks()
    names = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    counts = np.zeros((2, len(names) + 1, len(BIN_NAMES)), int)
    np.add.at(counts, (valid.astype(int), codes, bins), 1)
    by_name = zip(names, counts.sum((0, 2)), counts[1], strict=False)  # without the nulls
    return {name: (int(n), per_bin) for name, n, per_bin in sorted(by_name, key=itemgetter(0)) if n}


# -------------------------------------------------------------------------------------- the tables


def print_summary(console: Console, folder: Path, info: dict, frames: pa.Table) -> None:
    """Print what `frames` (of a whole dataset or of a split) hold, as tables."""
    valid = frames["valid"].to_numpy()
    bins = occlusion_bins(frames["occlusion"])
    console.print(_facts_table(folder, info, frames, valid))
    title = (
        "Valid frames by occlusion, the share of the hand that objects hide: % of them in each bin"
    )
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in ("frames", "valid", *BIN_NAMES):
        table.add_column(name, justify="right")

    def add_row(label: str, num_frames: int, per_bin: np.ndarray) -> None:
        shares = (f"{100 * n / per_bin.sum():.1f}" if n else "–" for n in per_bin)
        table.add_row(label, f"{num_frames:,}", f"{per_bin.sum():,}", *shares)

    add_row("all", len(frames), np.bincount(bins[valid], minlength=len(BIN_NAMES)))
    for names in (("side",), SPLIT_COLUMNS, ("object",)):
        table.add_section()
        for column in names:
            for value, counts in _count_by(frames[column], valid, bins).items():
                add_row(split_name(column, value) if column in SPLIT_COLUMNS else value, *counts)
    console.print(table)


def _facts_table(folder: Path, info: dict, frames: pa.Table, valid: np.ndarray) -> Table:
    parameters, counts = info["parameters"], info["counts"]
    names = set(pc.unique(frames["shard"].cast(pa.string())).to_pylist())
    shards = [shard for shard in info["shards"] if shard["name"] in names]
    size = sum(shard["size"] for shard in shards)
    table = Table(title=str(folder), show_header=False, title_justify="left")
    table.add_row("dataset", f"{parameters['dataset']}, {_describe_origin(info)}")
    table.add_row("hand model", parameters["hand"])
    table.add_row("shards", f"{len(shards):,}, {size / 1e6:,.1f} MB")
    table.add_row("clips", f"{len(pc.unique(frames['clip'])):,}")
    halo = f" and {counts['halo']:,} more as halo" if len(frames) == counts["frames"] else ""
    table.add_row("frames", f"{len(frames):,}{halo}, {size / max(len(frames), 1):,.0f} bytes each")
    table.add_row("valid", f"{valid.sum():,}")
    reasons = pc.value_counts(frames["reason"].filter(pa.array(~valid)).cast(pa.string()))
    for reason in sorted(reasons.to_pylist(), key=lambda r: -r["counts"]):
        table.add_row(f"  {reason['values']}", f"{reason['counts']:,}")
    sizes = pc.list_flatten(frames["crop_xywh"].filter(pa.array(valid))).to_numpy().reshape(-1, 4)
    for name, values in (("crop width", sizes[:, 2]), ("crop height", sizes[:, 3])):
        if len(values):
            low, middle, high = values.min(), np.median(values), values.max()
            table.add_row(name, f"{low:.0f} … {middle:.0f} … {high:.0f} px (min, median, max)")
    return table


def _describe_origin(info: dict) -> str:
    """Where a dataset's images come from, in words."""
    if info["synthetic"] is None:
        labels = labels_of(info)
        return f"recorded, {labels} labels" if labels else "recorded"
    seed = info["synthetic"].get("seed")
    return "synthetic" if seed is None else f"synthetic (seed {seed})"


# --------------------------------------------------------------------------------------- the sheet


def choose_rows(frames: pa.Table, count: int, seed: int) -> np.ndarray:
    """Up to `count` valid rows, the occlusion bins in turn, the clips as evenly as that allows.

    Ordered by occlusion, unknown last; the same seed gives the same rows.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(frames["valid"].to_numpy()))
    bins = occlusion_bins(frames["occlusion"])[rows]
    clips = frames["clip"].combine_chunks().indices.to_numpy()[rows]
    uses = np.zeros(clips.max(initial=0) + 1, int)
    left = {b: np.flatnonzero(bins == b) for b in np.unique(bins)}
    chosen: list[int] = []
    while left and len(chosen) < count:
        for b in list(left)[: count - len(chosen)]:
            best = uses[clips[left[b]]].argmin()
            chosen.append(left[b][best])
            uses[clips[chosen[-1]]] += 1
            left[b] = np.delete(left[b], best)
            if not len(left[b]):
                del left[b]
    picked = np.sort(rows[chosen])
    return picked[np.argsort(frames["occlusion"].to_numpy()[picked], kind="stable")]


def load_tile(folder: Path, row: dict) -> Tile:
    """Read the crop and the labels of a row of `frames.parquet`, at the places that it states."""
    with (folder / row["shard"]).open("rb") as file:
        data = read_member(file, row["offset"], row["size"], row["crc32"])
        labels = decode_labels(
            read_member(file, row["labels_offset"], row["labels_size"], row["labels_crc32"])
        )
    i = row["clip_index"]
    image = decode_jpeg(data)

    def known(name: str) -> np.ndarray | None:
        return labels[name][i] if name in labels and np.isfinite(labels[name][i]).all() else None

    def mask(name: str) -> np.ndarray | None:
        if name not in labels or not labels[name][i]:
            return None
        rle = {"size": list(image.shape[:2]), "counts": labels[name][i]}
        return coco_mask.decode(rle).astype(bool)

    return Tile(
        image,
        **{name: row[name] for name in ("side", "object", "frame")},
        **{n: np.nan if row[n] is None else row[n] for n in ("occlusion", "visibility")},
        **{name: known(name) for name in ("joints_px", "box_px")},
        **{name: mask(name) for name in ("mask_hand", "mask_object", "mask_amodal")},
    )


def _write_sheet(path: Path, folder: Path, info: dict, frames: pa.Table, options: Options) -> int:
    """Draw a contact sheet of `frames`; returns the number of tiles.

    Raises `ValueError` when there is no valid frame.
    """
    rows = choose_rows(frames, options.rows * options.columns, options.seed)
    if not len(rows):
        where = f"split {options.split} of {folder}" if options.split else str(folder)
        raise ValueError(
            f"{where} holds no valid frame, so there is nothing to draw: the table above says why"
        )
    tiles = [load_tile(folder, row) for row in frames.take(rows).to_pylist()]
    dataset, source = info["parameters"]["dataset"], _describe_origin(info)
    parts = (folder.resolve().name, options.split, dataset, source)
    title = " · ".join(part for part in parts if part)
    sheet = draw_sheet(tiles, options.columns, title)
    _, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    write_whole(path, png.tobytes())
    return len(tiles)


# ------------------------------------------------------------------------------------- the command


def run(options: Options) -> None:
    """Print the tables, write the sheet, and the COCO file if asked to."""
    folder = options.dataset
    info = read_info(folder)
    frames = read_frames(folder, info, options.split)
    print_summary(PlainConsole(stderr=False), folder, info, frames)
    sheet = options.sheet or Path("results") / folder.resolve().name / "shards.png"
    num_tiles = _write_sheet(sheet, folder, info, frames, options)
    console = PlainConsole()
    console.print(f"{sheet}: {num_tiles} crops with their labels", soft_wrap=True)
    if options.coco:
        num_images = write_coco(options.coco, folder, options.split)
        console.print(f"{options.coco}: {num_images:,} images in COCO's format", soft_wrap=True)


def main() -> int:
    return run_program(run, Options, "pipelines.inspect", __doc__)


if __name__ == "__main__":
    sys.exit(main())
