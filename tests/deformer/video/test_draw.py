"""Overlays: what is drawn where, of videos of all sizes and any number of hands."""

from dataclasses import replace

import numpy as np
import pytest

from deformer import draw as command
from deformer.hand.camera import project
from deformer.hand.mano import HandLayer, load_hands
from deformer.video.draw import Artist, draw_video
from deformer.video.frames import Video, VideoFrame, video_writer
from deformer.video.hands_file import HandRows
from deformer.video.ink import draw_label, track_rgb
from deformer.video.meshes import hand_vertices
from deformer.video.panel import cells_of_tracks
from tests.commands import call
from tests.deformer.video.hand_rows import INFO, join, track_rows, two_hands, write_clip
from tests.full_disk import names

HANDS = load_hands("standin")
MODEL = HandLayer(HANDS), HANDS.right.faces
GREY = np.full((64, 96, 3), 128, np.uint8)
WIDTH, HEIGHT = 640, 427  # 96 × 64 enlarged
NO_HANDS = two_hands().at(slice(0))


def frames(num: int = 12, image: np.ndarray = GREY) -> list[VideoFrame]:
    return [VideoFrame(k, k / 30, image) for k in range(num)]


def drawn(hands: HandRows, index: int = 3, **info) -> tuple[np.ndarray, np.ndarray]:
    """The frame and the panel of a frame."""
    changed = replace(INFO, **info)
    image = np.full((changed.height, changed.width, 3), 128, np.uint8)
    picture = Artist(hands, changed, *MODEL).draw(image, index)
    width = picture.shape[1] - round(picture.shape[0] * 0.5)
    return picture[:, :width], picture[:, width:]


def is_of(image: np.ndarray, track: int) -> np.ndarray:
    """Where an image has the hue of a track."""
    rgb = np.array(track_rgb(track), float)
    centred = image - image.mean(-1, keepdims=True)
    wanted = (rgb - rgb.mean()) / np.linalg.norm(rgb - rgb.mean())
    return (centred @ wanted > 25) & (centred @ wanted > 0.9 * np.linalg.norm(centred, axis=-1))


def test_hands_are_drawn_in_their_tracks_colours_where_they_are():
    for track, is_left in ((0, False), (1, True)):
        hands = track_rows(track, [3], is_left)
        frame, panel = drawn(hands)
        assert frame.shape == (HEIGHT, WIDTH, 3)
        # more than the dot of the label in a row or column
        is_hand = [is_of(frame, track).sum(axis) > 10 for axis in (0, 1)]
        corners = [np.flatnonzero(values)[[0, -1]] for values in is_hand]
        pixels = project(hand_vertices(hands, MODEL[0])[0], np.array(INFO.K))
        expected = (np.stack([pixels.min(0), pixels.max(0)], 1) + 0.5) * WIDTH / 96
        assert np.abs(corners - expected).max() < 12
        assert is_of(panel, track).sum() > 500
        assert not is_of(frame, 1 - track).any() and not is_of(panel, 1 - track).any()
        assert (frame[-40:, :40] == 128).all()
    both, _ = drawn(two_hands())
    assert is_of(both, 0).any() and is_of(both, 1).any()


def test_a_frame_without_hands_stays_as_it_is():
    frame, panel = drawn(NO_HANDS)
    assert (frame == 128).all()
    assert panel.shape == (HEIGHT, round(HEIGHT / 2), 3) and panel.mean() < 60


def test_hands_that_were_filled_in_look_different():
    hands = track_rows(0, [7], False)
    assert not hands.is_observed[0]
    filled, filled_panel = drawn(hands, 7)
    seen, seen_panel = drawn(hands._replace(is_observed=np.array([True])), 7)
    # more of the image, and of the panel, shows through
    for changed, solid, back in ((filled, seen, 128), (filled_panel, seen_panel, 40)):
        is_hand = is_of(solid, 0)
        difference = [np.abs(image[is_hand] - float(back)).mean() for image in (changed, solid)]
        assert difference[0] < 0.75 * difference[1]


def test_each_track_keeps_its_cell_and_cells_are_used_again():
    tracks = [
        track_rows(k, list(range(*span)), False)
        for k, span in enumerate([(0, 4), (2, 9), (4, 8), (8, 12)])
    ]
    assert cells_of_tracks(join(*tracks)) == ({0: 0, 1: 1, 2: 0, 3: 0}, 2)
    many = join(*(track_rows(k, [0, 1], False) for k in range(6)))
    assert cells_of_tracks(many) == ({0: 0, 1: 1, 2: 2, 3: 3}, 4)
    assert cells_of_tracks(NO_HANDS) == ({}, 0)


def test_four_hands_and_more():
    hands = join(*(track_rows(k, [3], k % 2 == 1) for k in range(6)))
    frame, panel = drawn(hands)
    for track in range(6):
        assert is_of(frame, track).any()
    assert all(is_of(panel, track).sum() > 100 for track in range(4))


@pytest.mark.parametrize(
    ("size", "drawn_size"),
    [
        ((3840, 2160), (1920, 1080)),
        ((1280, 720), (1280, 720)),
        ((721, 1281), (721, 1281)),
        ((2160, 3840), (1080, 1920)),
        ((96, 64), (640, 427)),
        ((64, 64), (640, 640)),
    ],
)
def test_frames_are_drawn_large_enough_to_read_and_small_enough_to_write(size, drawn_size):
    width, height = size
    picture = Artist(NO_HANDS, replace(INFO, width=width, height=height), *MODEL)
    assert picture.size == (drawn_size[0] + round(min(drawn_size) / 2), drawn_size[1])
    image = np.full((height, width, 3), 128, np.uint8)
    assert picture.draw(image, 0).shape == (*picture.size[::-1], 3)


@pytest.mark.parametrize("z", [0.05, 0.1, 5.0, -1.0])
def test_hands_that_fill_the_image_are_tiny_or_not_in_front(z):
    hands = track_rows(0, [3], False)
    moved = hands.joints_cam_m + np.float32([0, 0, z]) - hands.wrist_cam_m[:, None]
    frame, _ = drawn(hands._replace(joints_cam_m=moved))
    assert (frame != 128).any()  # the skeleton at least


@pytest.mark.parametrize("place", [(-500, 20), (5, -90), (95, 63), (1e6, 1e6)])
def test_labels_stay_in_the_image(place):
    image = GREY.copy()
    draw_label(image, "0 right", (255, 0, 0), np.array(place, float), 10)
    assert (image != 128).any()


# ---------------------------------------------------------------------------------------- the video


def test_overlays_keep_the_times_of_the_video(tmp_path):
    times = [0, 0.1, 0.13, 0.5]
    stamped = [VideoFrame(k, time_s, GREY) for k, time_s in enumerate(times)]
    out = tmp_path / "new" / "ö.hands.mp4"
    draw_video(iter(stamped), two_hands(), replace(INFO, num_frames=4), *MODEL, out)
    video = Video(out)
    assert [frame.time_s for frame in video] == pytest.approx(times, abs=1e-4)
    assert (video.info.width, video.info.height) == (WIDTH + 214, HEIGHT + 1)
    assert video.fault is None


def test_hands_of_another_video_are_refused_and_nothing_is_left(tmp_path, caplog):
    with pytest.raises(ValueError, match=r"the video has 95×64 px, the hands are of clip\.mp4 wi"):
        draw_video(frames(2, GREY[:, 1:]), two_hands(), INFO, *MODEL, tmp_path / "a.mp4")
    assert names(tmp_path) == []
    draw_video(frames(2), two_hands(), INFO, *MODEL, tmp_path / "a.mp4")
    (said,) = caplog.messages
    assert "the video has 2 frames, its hands are of clip.mp4 with 12: is it the same?" in said


# -------------------------------------------------------------------------------------- the command


@pytest.fixture
def clip(tmp_path):
    """A video and the file of its hands, in two folders."""
    with video_writer(tmp_path / "vidéos" / "clip.mp4", 30, (96, 64)) as write:
        for frame in frames():
            write(frame.image_rgb, frame.time_s)
    return write_clip(tmp_path / "my hands")


def test_the_command_draws_again(clip, tmp_path, capsys, monkeypatch):
    video = tmp_path / "vidéos" / "clip.mp4"
    assert call(command.main, clip, "--video", video) == 0
    out = clip.with_name("clip.hands.mp4")
    assert f"→ {out}" in capsys.readouterr().err
    first = list(Video(out))
    assert len(first) == 12
    monkeypatch.chdir(video.parent)  # the video of that name in this folder
    other = tmp_path / "other.mp4"
    assert call(command.main, clip, "--out", other) == 0
    assert other.read_bytes() == out.read_bytes()


def test_the_command_names_what_is_missing(clip, tmp_path, capsys):
    assert call(command.main, clip) == 1
    place = clip.parent / "clip.mp4"
    assert f"error: {place} or clip.mp4 does not exist, the video of" in capsys.readouterr().err
    assert call(command.main, tmp_path / "none.hands.parquet") == 1
    other = write_clip(tmp_path, hand_model_sha256="2" * 64)
    assert call(command.main, other, "--video", tmp_path / "vidéos" / "clip.mp4") == 1
    errors = capsys.readouterr().err
    assert "none.hands.parquet" in errors and "with another hand model" in errors
    assert "Traceback" not in errors
