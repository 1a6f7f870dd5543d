"""Labels that do not belong to the hand model are found out before the first step."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from deformer.data.dataset import read_table
from deformer.files.foreign import UnreadableFileError
from deformer.hand.mano import Hands, load_hands_of
from deformer.training import label_check
from deformer.training.label_check import check_labels, check_truth
from deformer.training.motion import RealMotion
from tests.deformer.small_runs import VERY_SMALL, with_column

MODEL = VERY_SMALL.model


def test_the_labels_of_a_build_are_those_of_its_hand_model(stream):
    hands = load_hands_of(stream.index.info)
    assert hands.name == "standin"
    check_labels(stream.index, stream.windows, hands, MODEL)


def test_other_fingertips_are_found_and_the_option_named(stream, hands):
    with pytest.raises(ValueError, match=r"mm off .* choose --model.tips .*, now ho3d"):
        check_labels(stream.index, stream.windows, hands, replace(MODEL, tips="ho3d"))


def test_labels_that_were_not_fetched_are_named_with_what_to_do(stream, hands, tmp_path):
    shutil.copytree(stream.index.folder, tmp_path / "copy")
    index = replace(stream.index, folder=tmp_path / "copy")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (index.folder / "annotations.parquet").write_bytes(pointer)
    wanted = r"annotations.parquet: it is a Git LFS pointer: fetch .* --repair writes it anew"
    with pytest.raises(UnreadableFileError, match=wanted):
        check_labels(index, stream.windows, hands, MODEL)
    with pytest.raises(UnreadableFileError, match=wanted):
        check_truth(index, stream.windows, "s0_val")
    with pytest.raises(UnreadableFileError, match=wanted):
        RealMotion(index, stream.windows, 0)


def test_another_convention_is_found(stream, hands, monkeypatch):
    def turn(poses):
        for pose in poses:
            if pose:
                pose[:3] = [-value for value in pose[:3]]

    with_column(monkeypatch, label_check, stream, "pose_rotvec", turn)
    with pytest.raises(ValueError, match="another hand model or convention"):
        check_labels(stream.index, stream.windows, hands, MODEL)


def test_sides_that_are_exchanged_are_found(stream, hands):
    exchanged = Hands(hands.name, hands.left, hands.right, hands.sha256)
    with pytest.raises(ValueError, match="another hand model or convention"):
        check_labels(stream.index, stream.windows, exchanged, MODEL)


@pytest.mark.parametrize("name", ["pose_rotvec", "betas"])
def test_a_frame_without_labels_is_refused_to_train_and_to_validate_on(
    stream, hands, monkeypatch, name
):
    used = np.unique(stream.windows.rows)
    missing = int(np.setdiff1d(used, stream.windows.centre_rows)[-1])  # the centre of no window

    def remove(values):
        values[missing] = None

    with_column(monkeypatch, label_check, stream, name, remove)
    fault = f"1 of {len(used)} frames have no {name}: "
    with pytest.raises(ValueError, match=f"{fault}training needs MANO labels; choose a split"):
        check_labels(stream.index, stream.windows, hands, MODEL)
    with pytest.raises(ValueError, match=f"{fault}.* another --validation.split than s0_val, or"):
        check_truth(stream.index, stream.windows, "s0_val")


def test_the_fusion_by_occlusion_needs_it(stream, hands, monkeypatch):
    def no_occlusion(path, columns):
        table = read_table(path, columns)
        if "occlusion" not in columns:
            return table
        return table.set_column(0, "occlusion", pa.nulls(len(table), pa.float32()))

    by_occlusion = replace(MODEL, fusion="occlusion")
    check_labels(stream.index, stream.windows, hands, by_occlusion)
    monkeypatch.setattr(label_check, "read_table", no_occlusion)
    with pytest.raises(ValueError, match=r"frames have no occlusion: --model.fusion occlusion"):
        check_labels(stream.index, stream.windows, hands, by_occlusion)
