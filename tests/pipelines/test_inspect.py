"""What is shown of a dataset: counts, the choice of frames, the sheet, the command."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from deformer.data.dataset import read_info
from pipelines import inspect
from pipelines.inspection.contact_sheet import HAND_RGB, Tile, draw_sheet, draw_tile
from tests.commands import call
from tests.pipelines.handmade import CROP_SIZE, build_dataset, make_clip, small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("inspect") / "small")


@pytest.fixture(scope="module")
def dataset_without_hand_model(tmp_path_factory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("inspect") / "none", hand="none")


@pytest.fixture(scope="module")
def dataset_without_valid_frame(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("inspect") / "invalid"
    return build_dataset(out, [[make_clip(num_frames=2, invalid=[0, 1])]])


def rows_of(dataset: Path, split: str | None = None):
    return inspect.read_frames(dataset, read_info(dataset), split)


def summary_of(dataset: Path, split: str | None = None) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        inspect.print_summary(console, dataset, read_info(dataset), rows_of(dataset, split))
    return capture.get()


def line_of(text: str, word: str) -> list[str]:
    """The words of the line that begins with a word, without the frame around it."""
    lines = [line.replace("│", " ").split() for line in text.splitlines()]
    return next(line for line in lines if line[:1] == [word])


# ---------------------------------------------------------------------------------------- counting


def test_counts_leave_the_halo_out(dataset):
    text = summary_of(dataset)
    assert line_of(text, "frames")[1:7] == ["17", "and", "1", "more", "as", "halo,"]
    assert line_of(text, "valid")[1] == "16"
    assert line_of(text, "no_hand")[1] == "1"
    assert line_of(text, "right")[1:3] == ["11", "10"]
    assert line_of(text, "left")[1:3] == ["6", "6"]
    assert line_of(text, "021_bleach_cleanser")[1:3] == ["6", "6"]
    assert line_of(text, "s0_test")[1:3] == ["6", "6"]
    assert line_of(text, "crop")[2] == str(CROP_SIZE[0])


def test_split_restricts_every_count(dataset):
    text = summary_of(dataset, "s2_val")
    assert line_of(text, "frames")[1] == "6,"
    assert line_of(text, "shards")[1] == "1,"
    assert "left" not in text


def test_occlusion_bins_hold_their_lower_border():
    ratios = pa.chunked_array([pa.array([0, 0.2499, 0.25, 0.5, 0.75, 1, None], pa.float32())])
    assert inspect.occlusion_bins(ratios).tolist() == [0, 0, 1, 2, 3, 3, 4]


def test_unknown_occlusion_is_shown_as_unknown(dataset_without_hand_model, tmp_path):
    text = summary_of(dataset_without_hand_model)
    assert line_of(text, "all")[1:] == ["17", "16", "–", "–", "–", "–", "100.0"]
    sheet = tmp_path / "sheet.png"
    assert call(inspect.main, dataset_without_hand_model, "--sheet", sheet) == 0 and sheet.is_file()


# ------------------------------------------------------------------------------- choice of frames


def test_chosen_rows_are_valid_ordered_by_occlusion_and_spread_over_clips_and_bins(dataset):
    frames = rows_of(dataset)
    several = [inspect.choose_rows(frames, 8, seed).tolist() for seed in (0, 0, 1)]
    assert several[0] == several[1] != several[2]
    assert len(set(several[0])) == 8 and frames["valid"].to_numpy()[several[0]].all()
    assert (np.diff(frames["occlusion"].to_numpy()[several[0]]) >= 0).all()
    rows = inspect.choose_rows(frames, 3, seed=0)
    assert len(set(frames["clip"].take(rows).to_pylist())) == 3
    bins = inspect.occlusion_bins(frames["occlusion"])
    valid = frames["valid"].to_numpy()
    num_bins = len(set(bins[valid]))
    assert len(set(bins[rows])) == min(3, num_bins)


# --------------------------------------------------------------------------------------- the sheet


def test_tile_is_the_row_that_was_asked_for(dataset):
    row = rows_of(dataset).take([4]).to_pylist()[0]
    tile = inspect.load_tile(dataset, row)
    expected = make_clip("clip-a", seed=1, invalid=[2], halo=[5])
    i = row["clip_index"]
    assert tile.image.shape == (CROP_SIZE[1], CROP_SIZE[0], 3)
    assert np.allclose(tile.joints_px, expected.labels["joints_px"][i], atol=1e-3)
    assert tile.occlusion == pytest.approx(expected.labels["occlusion"][i])
    shown = (tile.mask_hand & tile.mask_amodal).sum() / tile.mask_amodal.sum()
    assert shown == pytest.approx(tile.visibility)


def blank_tile(**changes) -> Tile:
    image = np.full((40, 60, 3), 90, np.uint8)
    return Tile(**({"image": image, "side": "left", "object": "x", "frame": 3, "occlusion": np.nan,
                    "visibility": np.nan} | changes))  # fmt: skip


def test_mask_is_outlined_where_it_lies():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    drawn = draw_tile(blank_tile(mask_hand=mask), 120)  # twice the size, 20 px above and below
    is_outline = (drawn == HAND_RGB).all(-1)
    y, x = np.nonzero(is_outline)
    assert abs(x.min() - 40) <= 1 and abs(x.max() - 79) <= 1
    assert abs(y.min() - 40) <= 1 and abs(y.max() - 79) <= 1
    assert not is_outline[45:75, 45:75].any()


def test_joint_is_drawn_where_it_lies():
    joints = np.full((21, 2), 1e7)  # far outside: drawn without a word
    joints[0] = 30, 20
    drawn = draw_tile(blank_tile(joints_px=joints), 120)
    assert (drawn[20 + 40, 60] > 200).all()  # the wrist is white


@pytest.mark.parametrize(("num_tiles", "columns"), [(1, 1), (5, 3), (2, 6)])
def test_sheet_holds_the_tiles_in_rows(num_tiles, columns):
    hardly_seen = blank_tile(occlusion=0.999, visibility=0.001)
    sheet = draw_sheet([hardly_seen] * num_tiles, columns, "title", tile_px=100)
    rows = -(-num_tiles // columns)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert sheet.shape[0] > rows * 100 and sheet.shape[1] > min(columns, num_tiles) * 100


# ------------------------------------------------------------------------------------- the command


def test_command_writes_the_sheet_to_results_by_default(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(inspect.main, dataset, "--rows", 1, "--columns", 3) == 0
    assert "standin" in capsys.readouterr().out
    assert cv2.imread("results/small/shards.png") is not None


def test_dataset_without_a_valid_frame_is_said(dataset_without_valid_frame, capsys):
    assert call(inspect.main, dataset_without_valid_frame) == 1
    out, err = capsys.readouterr()
    assert line_of(out, "no_hand")[1] == "2"
    assert "holds no valid frame" in err


def test_wrong_arguments_are_refused(dataset):
    with pytest.raises(ValueError, match="--rows 0 must be 1 or more"):
        inspect.Options(dataset, rows=0)
    with pytest.raises(ValueError, match="--sheet sheet.jpg must be a .png file"):
        inspect.Options(dataset, sheet=Path("sheet.jpg"))


def test_torch_is_not_imported():
    code = "import sys, pipelines.inspect; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
