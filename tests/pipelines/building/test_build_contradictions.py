"""Labels that contradict each other, from the folder to the message; and what `verify` says."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deformer.data.clip import REASONS, Clip
from deformer.data.official import SERIALS
from deformer.files.images import decode_image, encode_jpeg
from deformer.hand.box import AugmentationRange
from pipelines import build_shards, verify
from pipelines.build_shards import build
from pipelines.building import finish, shard
from pipelines.building.annotate import annotate_clip
from pipelines.building.finish import LIKELY_CAUSES
from pipelines.datasets import dexycb
from pipelines.datasets.source import UnusableInputError
from tests.commands import call
from tests.pipelines.building.test_build import options
from tests.pipelines.dexycb_root import edit_labels, write_root
from tests.pipelines.rewriting import problems

LIMITS = AugmentationRange()


def in_millimetres(path: Path) -> None:
    with np.load(path) as npz:
        edit_labels(path, joint_3d=npz["joint_3d"] * 1000)


def test_the_command_names_clip_frames_and_cause_in_one_line(own_root, tmp_path, capsys):
    camera = min(own_root.glob("2*/*/8*"))
    for path in camera.glob("labels_*.npz"):
        in_millimetres(path) if path.stem[-1] != "0" else None
    where = "--root", own_root, "--out", tmp_path / "out"
    assert call(build_shards.main, "--dataset", "dexycb", *where, "--workers", 0) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    key = "_".join(camera.parts[-3:])
    assert f"clip '{key}': the joints make no hand" in said
    assert "in 5 of 5 frames: they look like millimetres; metres are wanted" in said
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_single_frame_is_counted(own_root, tmp_path):
    in_millimetres(min(own_root.glob("2*/*/8*/labels_000003.npz")))
    info = build(options(own_root, tmp_path / "out"))
    assert info["counts"]["invalid"] == {"labels_contradict": 1, "no_hand": 7}
    assert problems(tmp_path / "out") == []


def test_clips_of_one_frame_stop_the_build_when_they_fill_a_shard(tmp_path, hands, layer):
    clips = [(0, 0, serial) for serial in SERIALS[:3]]
    root = write_root(tmp_path / "root", hands, layer, clips, num_frames=2)  # one without a hand
    paths = sorted(root.glob("2*/*/*/labels_000001.npz"))
    in_millimetres(paths[0])
    assert build(options(root, tmp_path / "one"))["counts"]["invalid"]["labels_contradict"] == 1
    in_millimetres(paths[1])
    with pytest.raises(UnusableInputError, match="in 1 of 1 frames: they look like millimetres"):
        build(options(root, tmp_path / "most"))


def test_what_no_single_rule_explains_stops_the_build_too(own_root, tmp_path, monkeypatch):
    def annotate(*args) -> Clip:
        clip = annotate_clip(*args)
        clip.labels["reason"][:4], clip.labels["valid"][:4] = "labels_contradict", False
        return clip

    monkeypatch.setattr(shard, "annotate_clip", annotate)
    with pytest.raises(UnusableInputError, match=r"4 of 6 frames of 000000.tar have labels that"):
        build(options(own_root, tmp_path / "out"))


# ------------------------------------------------------------------------ wrong throughout


def every(pattern: str, change: Callable[[Path], None], root: Path) -> None:
    for path in root.rglob(pattern):
        change(path)


def halve(path: Path) -> None:
    path.write_bytes(encode_jpeg(decode_image(path.read_bytes())[::2, ::2]))


def nan_joints_px(path: Path) -> None:
    with np.load(path) as npz:
        if (npz["joint_2d"] != -1).any():
            edit_labels(path, joint_2d=np.full((1, 21, 2), np.nan, np.float32))


THROUGHOUT = {
    "image_size": lambda root: every("color_*.jpg", halve, root),
    "image_missing": lambda root: every("color_*.jpg", Path.unlink, root),
    "image_corrupt": lambda root: every("color_*.jpg", lambda p: p.write_bytes(b"<html>"), root),
    "labels_not_finite": lambda root: every("labels_*.npz", nan_joints_px, root),
    "labels_missing": lambda root: every("labels_*.npz", Path.unlink, root),
}


@pytest.mark.parametrize("reason", THROUGHOUT)
def test_what_is_wrong_throughout_stops_the_build_with_the_likely_cause(own_root, tmp_path, reason):
    THROUGHOUT[reason](own_root)
    counts = "42 labels_missing" if reason == "labels_missing" else f"35 {reason}, 7 no_hand"
    message = re.escape(
        f"none of its 42 frames is valid ({counts}); the likely cause of {reason}: "
        f"{LIKELY_CAUSES[reason]}; mend the input, delete the folder {tmp_path / 'out'} "
    )
    for _ in range(2):  # the same command again says the same
        with pytest.raises(UnusableInputError, match=message):
            build(options(own_root, tmp_path / "out"))
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_single_valid_frame_is_enough(own_root, tmp_path):
    kept = max(own_root.rglob("color_*.jpg"))
    every("color_*.jpg", lambda path: halve(path) if path != kept else None, own_root)
    counts = build(options(own_root, tmp_path / "out"))["counts"]
    assert counts["valid"] == 1 and counts["invalid"] == {"image_size": 34, "no_hand": 7}


def test_no_hand_anywhere_stops_the_build(tmp_path, hands, layer):
    root = write_root(tmp_path / "root", hands, layer, [(0, 0, SERIALS[0])], num_frames=1)
    with pytest.raises(UnusableInputError, match=r"none of its 1 frames .* a hand in no frame"):
        build(options(root, tmp_path / "out"))


def test_verify_tells_of_a_dataset_without_a_valid_frame(own_root, tmp_path, monkeypatch, capsys):
    """Such as an earlier version built."""
    THROUGHOUT["image_size"](own_root)
    monkeypatch.setattr(finish, "nothing_valid", lambda counts: "")
    build(options(own_root, tmp_path / "out"))
    assert verify.run(verify.Options(tmp_path / "out", workers=0)) == 1
    said = capsys.readouterr()
    assert "all well" not in said.out
    assert "none of its 42 frames is valid (35 image_size, 7 no_hand)" in said.err


def test_every_reason_has_a_likely_cause():
    assert LIKELY_CAUSES.keys() == REASONS.keys()


def test_the_genuine_frame_builds(recorded_root):
    (ref,) = dexycb.list_clips(recorded_root)
    labels = annotate_clip(ref, list(dexycb.read_clip(recorded_root, ref)), None, LIMITS).labels
    assert set(labels["reason"]) <= {"", "hand_outside_image"}
    moved = recorded_root / "calibration" / "intrinsics" / f"{ref.camera}_640x480.yml"
    depth = {"616.640869140625": "596.8375854492188", "308.548095703125": "320.359619140625"}
    text = moved.read_text()
    for colour, other in depth.items():
        text = text.replace(colour, other)
    moved.write_text(text)
    with pytest.raises(UnusableInputError, match="12 of 12 frames: .* made with fx 616.6"):
        annotate_clip(ref, list(dexycb.read_clip(recorded_root, ref)), None, LIMITS)
