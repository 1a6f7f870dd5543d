"""Videos of all kinds, good and bad, are read as they were recorded; written ones play."""

import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from deformer.files.foreign import UnreadableFileError
from deformer.files.whole import NoRoomError
from deformer.video.frames import Video, find_videos, video_writer
from tests.full_disk import LINE, little_room, names
from tests.shared_data import SHARED

CLIP = SHARED / "data" / "clips" / "coffee.mp4"

WIDTH, HEIGHT = 96, 64


def picture(k: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Upper left quarter: a grey that tells frames apart; beside it noise; lower half: red."""
    image = np.random.default_rng(k).integers(0, 255, (height, width, 3), np.uint8)
    image[height // 2 :] = 200, 40, 40
    image[: height // 2, : width // 2] = 50 + 6 * k
    return image


def number(image: np.ndarray) -> int:
    """Of which `picture` an image was made."""
    height, width, _ = image.shape
    return round((float(image[: height // 2 - 4, : width // 2 - 4].mean()) - 50) / 6)


def record(
    path: Path, num: int = 30, codec: str = "libx264", pixels: str = "yuv420p",
    times_ms: list[int] | None = None, size: tuple[int, int] = (WIDTH, HEIGHT), **options: str,
) -> Path:  # fmt: skip
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, 20, options={"g": "10"} | options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base = Fraction(1, 1000 if times_ms else 20)
        for k in range(num):
            frame = av.VideoFrame.from_ndarray(picture(k, *size), "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (times_ms or range(num))[k], stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def numbers(video: Video) -> list[int]:
    return [number(frame.image_rgb) for frame in video]


# ------------------------------------------------------------------------------------ whole videos


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a b ö.mp4", "libx264", "yuv420p"),
        ("colon: %d [v2].mkv", "libx264", "yuv444p"),
        ("10 bit.mp4", "libx265", "yuv420p10le"),
        ("12 bit.mkv", "ffv1", "yuv420p12le"),
        ("prores.mov", "prores_ks", "yuv422p10le"),
        ("grey.mkv", "ffv1", "gray"),
        ("grey 16.mkv", "ffv1", "gray16le"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
    ],
)
def test_every_format_gives_the_recorded_pictures(tmp_path, name, codec, pixels):
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    video = Video(record(tmp_path / name, 12, codec, pixels, **options))
    frames = list(video)
    assert video.info[:4] == (name, 20, WIDTH, HEIGHT) and video.info.is_timed
    assert video.info.num_frames in (12, None)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([k / 20 for k in range(12)])
    assert [number(frame.image_rgb) for frame in frames] == list(range(12))
    red = frames[0].image_rgb[-10:].mean((0, 1))
    assert frames[0].image_rgb.dtype == np.uint8
    assert np.abs(red - (88 if "grey" in name else [200, 40, 40])).max() < 6
    assert video.fault is None
    assert numbers(video) == list(range(12))  # again, from the beginning


@pytest.mark.parametrize("size", [(95, 63), (3840, 2160)])
def test_odd_and_large_sizes(tmp_path, size):
    path = record(tmp_path / "a.avi", 2, "mjpeg", "yuvj444p", size=size)
    video = Video(path)
    assert (video.info.width, video.info.height) == size
    assert numbers(video) == [0, 1]


def test_variable_frame_rates_keep_their_times(tmp_path):
    times_ms = [500, 520, 700, 705, 1500, 1533]
    video = Video(record(tmp_path / "a.mkv", 6, times_ms=times_ms))
    times = [frame.time_s for frame in video]
    assert times == pytest.approx([(t - 500) / 1000 for t in times_ms])
    assert video.fault is None


def test_a_video_without_time_stamps_is_timed_by_its_rate(tmp_path):
    path = record(tmp_path / "a.h264", 5)
    for fps, used in ((None, 25), (50.0, 50)):  # FFmpeg assumes 25
        video = Video(path, fps)
        assert not video.info.is_timed and video.info.fps == used
        assert [frame.time_s for frame in video] == pytest.approx([k / used for k in range(5)])


def test_times_that_fall_back_go_on_by_the_rate(tmp_path):
    """Two recordings, one after the other in one file."""
    parts = [record(tmp_path / f"{k}.ts", 4).read_bytes() for k in range(2)]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    times = [frame.time_s for frame in Video(tmp_path / "both.ts")]
    assert len(times) == 8 and np.diff(times) == pytest.approx([0.05] * 7)


def test_hdr_is_shown_as_a_screen_shows_it(tmp_path):
    """White of 203 cd/m² has the code 0.58 in HDR10; an untouched frame would show it grey."""
    params = "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", 20, options={"x265-params": params})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p10le"
        image = np.full((HEIGHT, WIDTH, 3), round(0.58 * 255), np.uint8)
        image[:, :48] = round(0.38 * 255)  # mid grey: 26 cd/m²
        frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p10le")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    ((_, _, shown),) = Video(path)
    assert shown[:, 60:].mean() > 240
    assert 90 < shown[:, :40].mean() < 112


@pytest.mark.parametrize("turns", range(4))
def test_videos_of_phones_are_turned_upright(tmp_path, turns):
    """The container says by how much to turn the stored pictures, in quarter turns clockwise."""
    path = record(tmp_path / "phone.mp4", 2)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
    one = 1 << 16
    numbers_ = cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30
    data[matrix : matrix + 36] = struct.pack(">9i", *numbers_)
    path.write_bytes(data)
    video = Video(path)
    frame = next(iter(video))
    size = (WIDTH, HEIGHT) if turns % 2 == 0 else (HEIGHT, WIDTH)
    assert (video.info.width, video.info.height) == size == frame.image_rgb.shape[1::-1]
    back = np.rot90(frame.image_rgb, turns)
    assert number(back) == 0 and back[-8:, :, 0].min() > 150


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    parts = [
        record(tmp_path / f"{k}.ts", 3, size=size).read_bytes()
        for k, size in enumerate([(96, 64), (160, 128)])
    ]
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    frames = list(Video(tmp_path / "both.ts"))
    assert {frame.image_rgb.shape for frame in frames} == {(64, 96, 3)}
    assert [number(frame.image_rgb) for frame in frames] == [0, 1, 2] * 2


@pytest.mark.skipif(not CLIP.is_file(), reason="needs the clip")
def test_a_real_clip():
    video = Video(CLIP)
    times = [frame.time_s for frame in video]
    assert video.info == ("coffee.mp4", 30000 / 1001, 1280, 720, 287, True)
    assert times == pytest.approx([1.001 * k / 30 for k in range(287)], abs=1e-4)
    assert video.fault is None


# ----------------------------------------------------------------------------------- damaged videos


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.h264", "a.avi"])
def test_a_video_that_is_cut_off_gives_its_frames_and_says_so(tmp_path, name):
    kind = ("mjpeg", "yuvj420p") if name == "a.avi" else ("libx264", "yuv420p")
    data = record(tmp_path / name, 30, *kind).read_bytes()
    (tmp_path / name).write_bytes(data[: int(0.6 * len(data))])
    video = Video(tmp_path / name)
    found = numbers(video)
    assert 10 <= len(found) < 25 and found[:-1] == list(range(len(found) - 1))  # the last: in part
    assert f"{name} is damaged or cut off: " in video.fault
    assert f"{len(found)} frames could be read" in video.fault
    assert numbers(video) == found


def test_damage_in_the_middle_loses_no_later_frame(tmp_path):
    data = bytearray(record(tmp_path / "a.mp4", g="1").read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 80] = bytes(80)
    (tmp_path / "a.mp4").write_bytes(data)
    video = Video(tmp_path / "a.mp4")
    frames = list(video)
    assert len(frames) >= 28 and frames[-1].time_s == pytest.approx(1.45)
    assert "packets are damaged" in video.fault


UNREADABLE = {
    "empty.mp4": (b"", "it is empty"),
    "pointer.mp4": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "page.mov": (b"<!DOCTYPE html><html>", "web page"),
    "noise.avi": (b"some words " * 50, "damaged or cut off"),
    "noise.jpg": (b"some words " * 50, "damaged or cut off"),
    "empty.png": (b"", "it is empty"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_video_is_refused_in_one_line(tmp_path, name):
    content, reason = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFileError, match=re.escape(name)) as error:
        Video(tmp_path / name)
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_a_recording_that_never_ended_is_refused(tmp_path):
    """Its index would have come last."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 20)
        stream.width, stream.height = WIDTH, HEIGHT
        frame = av.VideoFrame.from_ndarray(picture(0), "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().split(b"moov")[0])
    with pytest.raises(UnreadableFileError, match=r"a\.mp4 is no video: it is damaged or cut off"):
        Video(path)


def test_sound_without_pictures(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", 16_000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 16_000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(UnreadableFileError, match="holds no pictures"):
        Video(tmp_path / "a.mp4")


def test_a_missing_video(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such video"):
        Video(tmp_path / "a.mp4")


# ----------------------------------------------------------------------------------------- pictures


def save(path: Path, k: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT), **more) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture(k, *size)).save(path, **more)


def test_a_picture_is_a_video_of_one_frame_upright(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned clockwise
    save(tmp_path / "a.jpg", 3, exif=exif, quality=95)
    video = Video(tmp_path / "a.jpg")
    ((index, time_s, image),) = video
    assert (index, time_s, video.info.num_frames, video.info.is_timed) == (0, 0, 1, False)
    assert (video.info.width, video.info.height) == (HEIGHT, WIDTH) == image.shape[1::-1]
    assert number(np.rot90(image)) == 3  # turned back


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_pictures_of_every_kind_are_rgb(tmp_path, mode):
    grey = np.full((HEIGHT, WIDTH), 200, np.uint8)
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "a.png")
    else:
        Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    ((_, _, image),) = Video(tmp_path / "a.png")
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - 200).max() <= 3


def test_a_folder_of_pictures_is_one_video_in_natural_order(tmp_path):
    for k in (10, 9, 2, 0):
        save(tmp_path / "recording" / f"frame{k}.png", k)
    (tmp_path / "recording" / "frame5.png").write_bytes(b"no picture")
    video = Video(tmp_path / "recording", fps=10)
    assert numbers(video) == [0, 2, 9, 10]
    assert [frame.time_s for frame in video] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert video.info.name == "recording" and "frame5.png is no whole picture" in video.fault


# ------------------------------------------------------------------------------------- which videos


def test_find_videos_of_a_folder(tmp_path, caplog):
    for name in ("b10.mp4", "b9.MOV", "b9.hands.mp4", "notes.txt", "thumb.jpg", ".hidden.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    assert find_videos(str(tmp_path)) == [tmp_path / "b9.MOV", tmp_path / "b10.mp4"]
    (record,) = caplog.records
    assert record.getMessage() == f"left out of {tmp_path}: notes.txt, sub, thumb.jpg"


def test_find_videos_of_pictures(tmp_path, caplog):
    pictures = tmp_path / "pictures"
    for k in range(3):
        save(pictures / f"{k}.png", k)
    assert find_videos(str(pictures)) == [pictures] and not caplog.records
    assert find_videos(str(pictures / "*.png")) == [pictures / f"{k}.png" for k in range(3)]
    save(pictures / "10.png", size=(64, 96))
    paths = [pictures / f"{k}.png" for k in (0, 1, 2, 10)]  # of two sizes: no recording
    assert find_videos(str(pictures)) == paths


def test_find_videos_by_name_and_pattern(tmp_path):
    odd = tmp_path / "clip [1] ö.xyz"
    for path in (odd, tmp_path / "b.mp4", tmp_path / "a.mp4", tmp_path / "a.hands.mp4"):
        path.touch()
    assert find_videos(str(odd)) == [odd]
    assert find_videos(str(tmp_path / "*")) == [tmp_path / "a.mp4", tmp_path / "b.mp4"]


def test_find_videos_finds_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a video"):
        find_videos(str(tmp_path))
    for source in ("a.mp4", "*.mp4"):
        with pytest.raises(FileNotFoundError, match="no such file, folder, or video"):
            find_videos(str(tmp_path / source))


# ------------------------------------------------------------------------------------------ writing


def test_written_videos_play_in_browsers_and_come_back(tmp_path):
    path, times = tmp_path / "new" / "a ö %d.mp4", [0, 0.05, 0.1, 0.5, 0.55]
    with video_writer(path, 20, (95, 63)) as write:
        for k, time_s in enumerate(times):
            write(picture(k, 95, 63), time_s)
    assert names(path.parent) == [path.name]
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it is loaded
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    video = Video(path)
    frames = list(video)
    assert video.info[2:4] == (96, 64) and video.fault is None
    assert [frame.time_s for frame in frames] == pytest.approx(times, abs=1e-4)
    assert [number(frame.image_rgb) for frame in frames] == list(range(5))
    read = cv2.VideoCapture(str(path)).read()[1][..., ::-1]  # by others
    for image in (frames[0].image_rgb, read):
        assert np.abs(image[-10:, :80].mean((0, 1)) - [200, 40, 40]).max() < 5


def test_an_interrupted_video_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), video_writer(path, 20, (WIDTH, HEIGHT)) as write:
        write(picture(0), 0)
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a.mp4"]


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (120, HEIGHT, WIDTH, 3), np.uint8)
    with (
        little_room(4000),
        pytest.raises(NoRoomError) as error,
        video_writer(path, 20, (WIDTH, HEIGHT)) as write,
    ):
        for k, image in enumerate(noise):
            write(image, k / 20)
    assert re.match(LINE.format(re.escape(str(path))), str(error.value))
    assert names(tmp_path) == []
