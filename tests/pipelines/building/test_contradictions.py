"""Labels that contradict each other: a fault throughout is named, one of a frame is its reason."""

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from deformer.hand.box import AugmentationRange
from deformer.hand.camera import project
from deformer.hand.conventions import DATASET_TO_MANO, MANO_TO_DATASET, OPENGL_TO_OPENCV
from pipelines.building.annotate import annotate_clip
from pipelines.building.hand_model import HandModel
from pipelines.datasets import dexycb
from pipelines.datasets.source import HAND, ClipRef, RawFrame, UnusableInputError
from tests.pipelines.dexycb_root import BETAS

LIMITS = AugmentationRange()
FLIP = OPENGL_TO_OPENCV


@pytest.fixture(scope="module", params=[0, 3], ids=["right", "left"])
def given(request, raw_root) -> tuple[ClipRef, list[RawFrame]]:
    """A clip's ref and its raw frames, of which the first has no hand."""
    ref = dexycb.list_clips(raw_root)[request.param]
    return ref, list(dexycb.read_clip(raw_root, ref))


def change(raw: list[RawFrame], edit: Callable[[RawFrame], RawFrame], *at: int) -> list[RawFrame]:
    """The frames, with those `at` edited; with none named, all that show a hand."""
    return [edit(f) if f.pose and (i in at or not at) else f for i, f in enumerate(raw)]


def of_joints(edit: Callable, pixels: bool = True) -> Callable[[RawFrame], RawFrame]:
    """The joints edited, and their image too, as a whole dataset of such joints would have it."""

    def edited(raw: RawFrame) -> RawFrame:
        joints = edit(raw.joints_cam_m)
        return replace(
            raw, joints_cam_m=joints, joints_px=project(joints, raw.K) if pixels else None
        )

    return edited


def of_K(edit: Callable, **more) -> Callable[[RawFrame], RawFrame]:
    return lambda raw: replace(raw, K=edit(raw.K), **more)


def of_pixels(edit: Callable) -> Callable[[RawFrame], RawFrame]:
    return lambda raw: replace(raw, joints_px=edit(raw.joints_px))


def cover(raw: RawFrame) -> RawFrame:
    """Most of the hand shows background, the rest is where the joints are."""
    x, y = np.rint(project(raw.joints_cam_m, raw.K)[9]).astype(int)
    seen = np.zeros_like(raw.segmentation)
    seen[max(y - 3, 0) : y + 3, max(x - 3, 0) : x + 3] = HAND
    return replace(raw, segmentation=seen)


AGREEING = {
    "as they are": lambda raw: raw,
    "whole pixels": of_pixels(np.rint),
    "no 2D joints": lambda raw: replace(raw, joints_px=None),
    "no pose": lambda raw: replace(raw, pose=None),
    "neither": lambda raw: replace(raw, pose=None, joints_px=None),
    "no segmentation": lambda raw: replace(raw, segmentation=None),
    "no hand in it": lambda raw: replace(
        raw, segmentation=np.where(raw.segmentation == HAND, 0, raw.segmentation)
    ),
    "a hand behind something without a label": cover,
}


@pytest.mark.parametrize("case", AGREEING)
def test_labels_that_agree_are_left_alone(given, model, case):
    ref, raw = given
    labels = annotate_clip(ref, change(raw, AGREEING[case]), model, LIMITS).labels
    assert labels["reason"].tolist() == ["no_hand", *[""] * 5]


def test_a_box_without_joints_is_compared_with_the_posed_hand(given, model):
    ref, raw = given

    def boxed(f: RawFrame) -> RawFrame:
        fields = model.pose_rotvec(f.pose, ref.side)[None], f.pose.betas[None], f.pose.trans_m[None]
        _, joints = model.hand_cam_m(*fields, ref.side, ref.tips)
        alone = replace(f, segmentation=None, joints_px=None, joints_cam_m=joints[0])
        return replace(alone, joints_cam_m=None, box_px=_box(alone))

    labels = annotate_clip(ref, change(raw, boxed), model, LIMITS).labels
    assert labels["valid"][1:].all()


BY_CAMERA = {
    "another resolution": (
        of_K(lambda K: K * [[1.5], [1.5], [1]]), "2D joints.* 5 of 5 frames: .* another resolution"
    ),
    "another camera": (
        of_K(lambda K: K + [[4, 0, -6], [0, 4, 5], [0, 0, 0]]),
        r"made with fx 616\.0, fy 615\.5, cx 312\.0, cy 241\.0.* another camera, or of the depth",
    ),
    "half a pixel of rounding, and more": (of_pixels(lambda p: p + 1.0), "up to 1.0 px"),
    "row, column": (of_pixels(lambda p: p[:, ::-1]), "are row, column"),
    "another order": (of_pixels(lambda p: p[MANO_TO_DATASET]), "another order than the 2D"),
    "a transposed K": (of_K(np.transpose), "K is no camera matrix .* transposed"),
    "an extrinsic matrix": (of_K(lambda K: np.roll(np.eye(3), 1, 0)), "K is no camera matrix"),
    "joints mirrored in y": (
        lambda raw: replace(raw, joints_cam_m=raw.joints_cam_m * [1, -1, 1]), "are mirrored in y"
    ),
    "other frames' pixels": (
        lambda raw: replace(raw, joints_px=np.random.default_rng(0).uniform(0, 400, (21, 2))),
        "no camera makes these",
    ),
}  # fmt: skip


@pytest.mark.parametrize("hand", [True, False], ids=["mano", "none"])
@pytest.mark.parametrize("case", BY_CAMERA)
def test_2d_joints_against_the_camera(given, model, hand, case):
    (ref, raw), (edit, message) = given, BY_CAMERA[case]
    with pytest.raises(UnusableInputError, match=f"clip '{ref.key}': .*{message}") as error:
        annotate_clip(ref, change(raw, edit), model if hand else None, LIMITS)
    assert "\n" not in str(error.value)


BY_SIZE = {
    "millimetres": (of_joints(lambda j: j * 1000), "they look like millimetres.* divide by 1000"),
    "centimetres": (of_joints(lambda j: j * 100), "they look like centimetres"),
    "decimetres": (of_joints(lambda j: j * 10), "they look like decimetres"),
    "inches": (of_joints(lambda j: j * 39.37), "they look like inches"),
    "kilometres": (of_joints(lambda j: j / 1000), "they look like kilometres"),
    "of OpenGL": (
        of_joints(lambda j: j * FLIP, pixels=False),
        "behind the camera .* y down, as in OpenCV",
    ),
}


@pytest.mark.parametrize("hand", [True, False], ids=["mano", "none"])
@pytest.mark.parametrize("case", BY_SIZE)
def test_joints_that_are_no_hand_before_the_camera(given, model, hand, case):
    (ref, raw), (edit, message) = given, BY_SIZE[case]
    with pytest.raises(UnusableInputError, match=message):
        annotate_clip(ref, change(raw, edit), model if hand else None, LIMITS)


BY_POSE = {
    "axis-angle": (
        lambda p, hand: {"fingers": hand.pca_to_rotvec(p.fingers)}, "axis-angles, and were read as"
    ),
    "axis-angle from the mean": (
        lambda p, hand: {"fingers": p.fingers @ hand.hands_components},
        "axis-angles from MANO's mean pose",
    ),
    "PCA": (
        lambda p, hand: {"fingers_are_pca": False},
        "are PCA coefficients, and were read as axis-angles",
    ),
    "no mean": (
        lambda p, hand: {"fingers": p.fingers @ hand.hands_components, "fingers_are_pca": False},
        "lack MANO's mean pose",
    ),
    "degrees": (lambda p, hand: {"global_rotvec": np.rad2deg(p.global_rotvec)}, "in degrees"),
    "no shape": (lambda p, hand: {"betas": np.zeros(10)}, "the shape is another person's"),
    "another shape": (lambda p, hand: {"betas": p.betas[::-1]}, "the shape is another person's"),
    "translation in mm": (
        lambda p, hand: {"trans_m": p.trans_m * 1000}, "translation is in millimetres"
    ),
    "the wrist as translation": (
        lambda p, hand: {"trans_m": p.trans_m + hand.wrist_m(BETAS)}, r"subtract J₀\(betas\)"
    ),
    "translation of another camera": (
        lambda p, hand: {"trans_m": p.trans_m + [0.1, 0, 0.2]},
        r"-0\.100, 0\.000, -0\.200 m off: the translation belongs",
    ),
    "the inverse rotation": (
        lambda p, hand: {"global_rotvec": -p.global_rotvec}, "the shape is right, the pose is not"
    ),
}  # fmt: skip
BY_JOINTS = {
    "MANO's order": (of_joints(lambda j: j[DATASET_TO_MANO]), "dataset order is wanted"),
    "a larger hand": (of_joints(lambda j: j * 1.1), r"1\.100 times as large"),
}


@pytest.mark.parametrize("case", [*BY_POSE, *BY_JOINTS])
def test_mano_parameters_against_the_joints(given, model, case):
    ref, raw = given
    edit, message = (BY_POSE | BY_JOINTS)[case]
    if case in BY_POSE:
        hand, fields = getattr(model.hands, ref.side), edit
        edit = lambda f: replace(f, pose=replace(f.pose, **fields(f.pose, hand)))  # noqa: E731
    raw = [replace(frame, segmentation=None) for frame in change(raw, edit)]
    with pytest.raises(UnusableInputError, match=f"MANO parameters .* mm .*{message}"):
        annotate_clip(ref, raw, model, LIMITS)
    annotate_clip(ref, raw, None, LIMITS)  # without a hand model there is nothing to compare


def test_the_other_hand_and_the_other_fingertips_are_named(given, model):
    ref, raw = given
    other = {"right": "left", "left": "right"}[ref.side]
    with pytest.raises(UnusableInputError, match=f"are a {ref.side} hand's.* of a {other} one"):
        annotate_clip(replace(ref, side=other), raw, model, LIMITS)
    with pytest.raises(UnusableInputError, match="fingertips of 'dexycb', .* says 'ho3d'"):
        annotate_clip(replace(ref, tips="ho3d"), raw, model, LIMITS)


@pytest.mark.parametrize("hand", [True, False], ids=["mano", "none"])
@pytest.mark.parametrize(("axis", "name"), [([-1, 1, 1], "x"), ([1, -1, 1], "y")])
def test_mirrored_joints(given, model, hand, axis, name):
    """A hand tells its side by itself: fingers bend to the palm."""
    ref, raw = given
    raw = change(raw, of_joints(lambda joints: joints * axis))
    raw = [replace(frame, segmentation=None) for frame in raw]
    message = f"mirrored in {name}" if hand else f"backwards, if this is a {ref.side} hand"
    with pytest.raises(UnusableInputError, match=message):
        annotate_clip(ref, raw, model if hand else None, LIMITS)
    other = {"right": "left", "left": "right"}[ref.side]
    assert annotate_clip(replace(ref, side=other), raw, None, LIMITS).labels["valid"][1:].all()


def test_files_of_the_model_that_are_not_the_published_ones_are_named(given, model):
    ref, raw = given
    other = {"right": "left", "left": "right"}[ref.side]
    copied = replace(model.hands, **{ref.side: getattr(model.hands, other)})
    with pytest.raises(UnusableInputError, match="hold the same hand: take both from MANO v1.2"):
        annotate_clip(ref, raw, HandModel.from_hands(copied), LIMITS)
    arrays = getattr(model.hands, ref.side)
    mended = replace(arrays, shapedirs=arrays.shapedirs * np.float32([-1, 1, 1])[:, None])
    mended = HandModel.from_hands(replace(model.hands, **{ref.side: mended}))
    with pytest.raises(
        UnusableInputError, match=f"MANO_{ref.side.upper()}.pkl .* not a mended one"
    ):
        annotate_clip(ref, raw, mended, LIMITS)


SINGLE = [edit for edit, _ in (*BY_CAMERA.values(), BY_SIZE["millimetres"])]


@pytest.mark.parametrize("number", range(len(SINGLE)))
def test_a_single_frame_is_a_row_with_a_reason(given, model, number):
    ref, raw = given
    clean = annotate_clip(ref, raw, model, LIMITS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip = annotate_clip(ref, change(raw, SINGLE[number], 2), model, LIMITS)
    assert clip.labels["reason"].tolist() == ["no_hand", "", "labels_contradict", "", "", ""]
    assert clip.images[2] is None and not clip.labels["valid"][2]
    for name in ("K", "joints_cam_m", "pose_rotvec", "trans_m", "box_px"):
        assert np.isnan(clip.labels[name][2]).all(), name
        kept = np.arange(6) != 2
        np.testing.assert_array_equal(clip.labels[name][kept], clean.labels[name][kept])


def test_what_the_image_shows(given, model):
    """The only witness of K where a dataset states no 2D joints: segmentation or box."""
    ref, raw = given
    raw = [replace(frame, joints_px=None) for frame in raw]
    message = f"segmentation or box.*K of camera {ref.camera}"
    for by in ([0, 0, 150], [0, 0, 700]):  # onto the background, out of the image
        moved = change(raw, of_K(lambda K, by=by: K + [by, [0, 0, 0], [0, 0, 0]]))
        for hand in (model, None):
            with pytest.raises(UnusableInputError, match=message):
                annotate_clip(ref, moved, hand, LIMITS)
    boxed = [replace(f, segmentation=None, box_px=_box(f)) for f in raw]
    assert annotate_clip(ref, boxed, model, LIMITS).labels["valid"][1:].all()
    moved = change(boxed, lambda f: replace(f, K=f.K + [[0, 0, 150], [0, 0, 0], [0, 0, 0]]))
    with pytest.raises(UnusableInputError, match="segmentation or box"):
        annotate_clip(ref, moved, model, LIMITS)


def _box(raw: RawFrame) -> np.ndarray | None:
    if raw.joints_cam_m is None:
        return None
    pixels = project(raw.joints_cam_m, raw.K)
    return np.concatenate([pixels.min(0), pixels.max(0)])


def test_stated_vertices_against_the_joints(given, model):
    ref, raw = given

    def with_vertices(f: RawFrame) -> RawFrame:
        fields = model.pose_rotvec(f.pose, ref.side)[None], f.pose.betas[None], f.pose.trans_m[None]
        vertices, _ = model.hand_cam_m(*fields, ref.side, ref.tips)
        return replace(f, pose=None, vertices_cam_m=vertices[0])

    frames = change(raw, with_vertices)
    assert annotate_clip(ref, frames, model, LIMITS).labels["valid"][1:].all()
    wrong = [replace(f, vertices_cam_m=f.vertices_cam_m * 1000) if f.joints_px is not None else f
             for f in frames]  # fmt: skip
    with pytest.raises(UnusableInputError, match="vertices of the fingertips .* 5 of 5"):
        annotate_clip(ref, wrong, None, LIMITS)


def test_few_frames_are_no_pattern(given, model):
    """Unless the shard is full of them, as `build_shard` asks."""
    ref, raw = given
    ref, raw = replace(ref, frames=ref.frames[1:3]), change(raw[1:3], BY_SIZE["millimetres"][0])
    labels = annotate_clip(ref, raw, model, LIMITS).labels
    assert labels["reason"].tolist() == ["labels_contradict"] * 2
    with pytest.raises(UnusableInputError, match="millimetres"):
        annotate_clip(ref, raw, model, LIMITS, 1)
