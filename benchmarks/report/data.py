"""The dataset card: what a built dataset holds, how it was built, and how much of it is hidden."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.figures.curves import TABLE_BORDERS
from benchmarks.figures.style import binned
from benchmarks.report.html_parts import definitions, heading, paragraph, picture, table
from deformer.data.clip import REASONS
from deformer.data.dataset import dataset_sha256, read_info, read_table, split_column

_BORDERS = np.array([0.0, *TABLE_BORDERS])
_LAYOUTS = {"dexycb": "DexYCB", "ho3d": "HO-3D"}


def dataset_card(folder: Path, sheet: Path) -> str:
    """One dataset as HTML; sheet: its contact sheet, shown where it is there.

    Raises `FileNotFoundError` or `ValueError` when the folder is no dataset.
    """
    info = read_info(folder)
    parameters, counts, made = info["parameters"], info["counts"], info["synthetic"]
    layout = _LAYOUTS.get(parameters["dataset"], parameters["dataset"])
    kind = f"SYNTHETIC, in the layout of {layout}" if made else f"recordings, {layout}"
    parts = [heading(f"{folder.name}: {kind}")]
    size = sum(shard["size"] for shard in info["shards"])
    parts.append(
        definitions(
            [
                ("frames", f"{counts['frames']:,}, of which {counts['valid']:,} are valid; "
                 f"{counts['clips']:,} clips"),
                ("not valid", _reasons(counts["invalid"])),
                ("hand model", f"{_hand(parameters['hand'])}; sha256 "
                 f"{(parameters['hand_sha256'] or 'none')[:16]}"),
                ("size", f"{len(info['shards'])} shards, {size / 1e6:,.0f} MB"),
                ("made by", _plain(made) if made else "a recorded dataset"),
                ("build", _plain({k: v for k, v in parameters.items() if k not in _SHOWN})),
                ("this build", f"sha256 of dataset.json {dataset_sha256(folder)}"),
            ]
        )
    )  # fmt: skip
    parts.append(_splits(folder, info))
    if sheet.is_file():
        name = f"{folder.name}{', synthetic data' if made else ''}"
        parts.append(
            picture(
                sheet, f"Contact sheet of {name}",
                f"Crops of {name}, by rising occlusion: the segmented hand outlined in green, "
                "objects in orange, the whole hand dashed, joints as coloured bones.",
            )
        )  # fmt: skip
    return "".join(parts)


_SHOWN = ("dataset", "hand", "hand_sha256", "schema_version")


def _reasons(invalid: dict[str, int]) -> str:
    words = [f"{count:,} {name} ({REASONS.get(name, name)})" for name, count in invalid.items()]
    return "; ".join(words) or "none"


def _hand(name: str) -> str:
    names = {"standin": "the stand-in hand (not MANO)", "mano": "MANO", "none": "none"}
    return names.get(name, name)


def _plain(values: dict) -> str:
    """A nested dictionary as words; hashes shortened, what is empty left out."""

    def words(value: object) -> object:
        if isinstance(value, dict):
            return f"({_plain(value)})"
        is_hash = isinstance(value, str) and len(value) == 64
        return value[:16] if is_hash else value

    return ", ".join(f"{k} {words(v)}" for k, v in values.items() if v not in (None, {}))


def _splits(folder: Path, info: dict) -> str:
    """Splits: frames, valid ones, and how many of these fall into each range of occlusion."""
    path = folder / "frames.parquet"
    columns = {split_column(info, name)[0] for name in info["counts"]["splits"]}
    frames = read_table(path, ["valid", "is_halo", "occlusion", *sorted(columns)])
    use = frames["valid"].to_numpy() & ~frames["is_halo"].to_numpy()
    occlusion = frames["occlusion"].to_numpy().astype(float)
    rows = []
    for name, count in info["counts"]["splits"].items():
        column, part = split_column(info, name)
        inside = use & (frames[column].to_numpy(zero_copy_only=False) == part)
        values = occlusion[inside]
        numbers = [f"{n:,}" if n else "–" for n in binned(values, values, _BORDERS)[2]]
        missing = int(np.isnan(values).sum())
        rows.append((name, f"{count['frames']:,}", f"{count['valid']:,}", *numbers,
                     f"{missing:,}" if missing else "–"))  # fmt: skip
    if not rows:
        return paragraph("This dataset has no splits.")
    ranges = [f"{a:.0%}–{b:.0%}" for a, b in pairwise(_BORDERS)]
    headings = ("split", "frames", "valid", *ranges, "not known")
    return table(headings, rows, caption="Valid frames by how much of the hand objects hide")
