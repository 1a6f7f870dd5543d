"""The command: what is written, what is kept, what is refused."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deformer import predict
from deformer.data.windows import WindowConfig
from deformer.files.whole import NoRoomError
from deformer.video import predictor, results, webcam
from deformer.video.frames import Video, video_writer
from deformer.video.hands_file import read_hands
from tests.deformer.video.networks import write_random_weights

NUM_FRAMES = 8


def make_video(path: Path, num: int = NUM_FRAMES, size: int = 64, fps: float = 10) -> Path:
    images = np.random.default_rng(0).integers(0, 255, (num, size, size, 3), np.uint8)
    with video_writer(path, fps, (size, size)) as write:
        for k, image in enumerate(images):
            write(image, k / fps)
    return path


def make_boxes(path: Path, frames=range(NUM_FRAMES)) -> Path:
    lines = ["frame,track,side,x0,y0,x1,y1"]
    lines += [f"{k},0,right,{10 + k},12,{40 + k},45" for k in frames]
    path.write_text("\n".join(lines) + "\n")
    return path


class Place:
    """Folders, a network, a video with boxes, and a way to run the command."""

    def __init__(self, folder: Path, capsys) -> None:
        self.folder, self._capsys = folder, capsys
        self.out = folder / "out of it"
        self.weights = write_random_weights(folder / "small.safetensors", WindowConfig(3, 2))
        self.video = make_video(folder / "vidéo one.mp4")
        self.boxes = make_boxes(folder / "boxes.csv")

    def run(self, *more: str, source: str | Path | None = None) -> tuple[int, str]:
        """Status and what was printed, on one line."""
        line = [str(source or self.video), "--checkpoint", self.weights, "--out", self.out]
        line += ["--device", "cpu", *more]
        if "--boxes" not in more:
            line += ["--boxes", self.boxes]
        sys.argv = ["predict", *map(str, line)]
        try:
            status = predict.main()
        except SystemExit as stopped:
            status = stopped.code
        printed = self._capsys.readouterr()
        return status, printed.out + printed.err

    def file(self, suffix: str = ".hands.parquet", stem: str = "vidéo one") -> Path:
        return self.out / f"{stem}{suffix}"


@pytest.fixture
def place(tmp_path, capsys, monkeypatch) -> Place:
    """Overlays and pages are a word, because drawing takes long."""
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(results, "draw_video", lambda *given: given[-1].write_text("drawn"))
    monkeypatch.setattr(results, "write_page", lambda path, *_: path.write_text("page"))
    return Place(tmp_path, capsys)


@pytest.mark.slow
def test_drawings_are_of_the_video_and_its_hands(place, monkeypatch):
    monkeypatch.undo()
    make_video(place.video, 3)
    make_boxes(place.boxes, range(2))
    monkeypatch.setattr(sys, "argv", [])
    assert place.run()[0] == 0
    assert len(list(Video(place.file(".hands.mp4")))) == 3
    assert "</html>" in place.file(".hands.html").read_text(encoding="utf-8")


def test_a_video_becomes_a_table_an_overlay_and_a_page(place):
    status, printed = place.run()
    assert status == 0, printed
    names = {path.name for path in place.out.iterdir()}
    assert names == {f"vidéo one.hands.{kind}" for kind in ("parquet", "mp4", "html")}
    rows, info = read_hands(place.file())
    assert rows.frame.tolist() == list(range(NUM_FRAMES))
    assert rows.weights.shape == (NUM_FRAMES, 3)
    assert (info.source, info.width, info.num_frames) == (place.video.name, 64, NUM_FRAMES)
    assert info.fps == pytest.approx(10)
    assert info.detector == "boxes of boxes.csv"
    assert info.hand_model == "standin"
    assert info.checkpoint == str(place.weights)
    assert len(info.checkpoint_sha256) == len(info.config_sha256) == 64
    assert info.K_from.startswith("assumed: field of view 45°")
    assert "camera: assumed: field of view 45°" in printed
    assert "8 hands in 1 tracks, 8 frames" in printed and "frames/s" in printed
    assert "finding hands" not in info.K_from


def test_a_finished_video_is_skipped_and_missing_drawings_are_made(place, monkeypatch):
    assert place.run("--no-render")[0] == 0
    assert [path.name for path in place.out.iterdir()] == ["vidéo one.hands.parquet"]
    before = place.file().stat().st_mtime_ns
    monkeypatch.setattr(results, "predict_tracks", None)  # not called again
    status, printed = place.run()
    assert status == 0 and "finished before, 8 hands" in printed
    assert place.file(".hands.mp4").exists() and place.file(".hands.html").exists()
    monkeypatch.setattr(results, "draw_video", None)
    monkeypatch.setattr(results, "write_page", None)
    assert place.run()[0] == 0
    assert place.file().stat().st_mtime_ns == before


@pytest.mark.parametrize("more", [["--fov", "60"], ["--hand-length", "180"], ["--smooth"]])
def test_results_of_other_options_are_replaced_only_if_asked(place, more):
    assert place.run()[0] == 0
    before = place.file().read_bytes()
    overlay = place.file(".hands.mp4").stat().st_mtime_ns
    status, printed = place.run(*more)
    assert status == 1
    assert "was made with other options" in printed and "--overwrite" in printed
    assert place.file().read_bytes() == before
    assert place.run(*more, "--overwrite")[0] == 0
    assert place.file().read_bytes() != before
    assert place.file(".hands.mp4").stat().st_mtime_ns != overlay
    assert place.run(*more)[0] == 0  # finished


def test_another_video_of_the_same_name_is_not_taken_for_finished(place):
    assert place.run("--no-render")[0] == 0
    make_video(place.video, fps=5)
    status, printed = place.run("--no-render")
    assert status == 1 and "from another video" in printed


def test_a_damaged_table_is_made_again(place):
    assert place.run("--no-render")[0] == 0
    whole = place.file().read_bytes()
    place.file().write_bytes(whole[:-100])
    assert place.run("--no-render")[0] == 0
    assert place.file().read_bytes() == whole


def test_smoothed_hands_have_the_raw_ones_beside_them(place):
    assert place.run("--smooth", "--no-render")[0] == 0
    raw, raw_info = read_hands(place.file(".raw.parquet"))
    smooth, info = read_hands(place.file())
    assert info.smoothed and not raw_info.smoothed
    assert np.abs(raw.joints_cam_m - smooth.joints_cam_m).max() > 1e-4


def test_a_camera_that_is_given_is_in_the_footer(place):
    status, printed = place.run("--intrinsics", "70,71,32,31", "--no-render")
    assert status == 0 and "camera:" not in printed
    info = read_hands(place.file())[1]
    assert info.K == ((70, 0, 32), (0, 71, 31), (0, 0, 1)) and info.K_from == "given"


def test_a_camera_of_another_resolution_is_refused(place):
    status, printed = place.run("--intrinsics", "700,700,320,240")
    assert status == 1 and "seem to be of another resolution" in printed
    assert not place.out.exists()


def test_no_hand_in_a_video_is_an_empty_table(place, monkeypatch):
    monkeypatch.setattr(predictor, "read_boxes", lambda *_: [])
    status, printed = place.run()
    assert status == 0
    assert "no hand was found in 8 frames" in printed and "is empty" in printed
    rows, info = read_hands(place.file())
    assert len(rows.frame) == 0 and info.num_frames == NUM_FRAMES
    assert place.file(".hands.mp4").exists()


def test_boxes_of_another_video_are_refused(place):
    boxes = make_boxes(place.folder / "longer.csv", range(NUM_FRAMES + 5))
    status, printed = place.run("--boxes", boxes)
    assert status == 1 and "error:" in printed
    assert place.run("--boxes", place.folder / "none.csv")[0] == 1


def test_a_bad_video_does_not_stop_the_others(place, monkeypatch):
    folder = place.folder / "videos"
    folder.mkdir()
    make_video(folder / "b.mp4")
    (folder / "a.mp4").write_bytes(b"")
    monkeypatch.setattr(predict, "HandDetector", FakeDetector)
    monkeypatch.setattr(predictor, "detect_video", lambda frames, num_hands: [[] for _ in frames])
    status, printed = place.run("--boxes", "None", source=folder)
    assert status == 1
    assert "error: a.mp4: " in printed and "1 of 2 videos failed" in printed
    assert place.file(stem="b").exists()


def test_an_odd_error_of_one_video_does_not_stop_the_others(place, monkeypatch):
    folder = place.folder / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        make_video(folder / name)
    predict_video = predict.predict_video

    def sometimes(path, *given):
        if path.name == "a.mp4":
            raise RuntimeError("the library is confused")
        return predict_video(path, *given)

    monkeypatch.setattr(predict, "HandDetector", FakeDetector)
    monkeypatch.setattr(predict, "predict_video", sometimes)
    monkeypatch.setattr(predictor, "detect_video", lambda frames, num_hands: [[] for _ in frames])
    status, printed = place.run("--boxes", "None", source=folder)
    assert status == 1
    assert "error: a.mp4: RuntimeError: the library is confused" in printed
    assert place.file(stem="b").exists()


class FakeDetector:
    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass


def test_videos_that_would_write_the_same_files_are_refused(place, monkeypatch):
    monkeypatch.setattr(predict, "HandDetector", FakeDetector)
    for name in ("clip.mp4", "clip.mkv"):
        (place.folder / "two").mkdir(exist_ok=True)
        place.video.replace(place.folder / "two" / name)
        make_video(place.video)
    status, printed = place.run("--boxes", "None", source=place.folder / "two")
    assert status == 1 and "would write the same files" in printed
    status, printed = place.run(source=place.folder / "two")
    assert status == 1 and "is of one video" in printed


def test_a_full_disk_is_one_line_and_stops(place, monkeypatch):
    def full(*_):
        raise NoRoomError("no space left on the disk of x")

    monkeypatch.setattr(results, "write_hands", full)
    status, printed = place.run("--no-render")
    assert status == 1 and "error: no space left" in printed
    assert not place.file().exists()


def test_what_is_not_installed_is_said_at_once(place, monkeypatch):
    def lacking():
        raise ModuleNotFoundError("finding hands needs mediapipe: pip install it")

    monkeypatch.setattr(predict, "HandDetector", lacking)
    status, printed = place.run("--boxes", "None", source=place.folder / "none.mp4")
    assert status == 1 and "error: finding hands needs mediapipe" in printed


def test_a_damaged_checkpoint_is_one_line(place):
    place.weights.write_bytes(place.weights.read_bytes()[:1000])
    status, printed = place.run()
    assert status == 1 and printed.startswith("error:") and printed.count("\n") == 1


class Webcam:
    """Gives five pictures."""

    def __init__(self, number: int) -> None:
        self.left = 5 if number == 3 else 0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((48, 64, 3), 40 * max(self.left, 0), np.uint8)

    def get(self, _) -> float:
        return 10

    def release(self) -> None:
        pass


def test_a_webcam_is_recorded_and_then_a_video(place, monkeypatch):
    monkeypatch.setattr(webcam.cv2, "VideoCapture", Webcam)
    boxes = make_boxes(place.folder / "few.csv", range(5))
    status, printed = place.run("--boxes", boxes, source="3")
    assert status == 0 and "recorded 5 frames" in printed
    (video,) = place.out.glob("webcam3_*[0-9].mp4")
    assert len(list(Video(video))) == 5
    assert len(read_hands(video.with_suffix(".hands.parquet"))[0].frame) == 5
    status, printed = place.run(source="4")
    assert status == 1 and "webcam 4 gives no picture" in printed


def test_ctrl_c_ends_a_recording_and_keeps_it(tmp_path, monkeypatch):
    class Stopped(Webcam):
        def read(self):
            if self.left == 2:
                raise KeyboardInterrupt
            return super().read()

    monkeypatch.setattr(webcam.cv2, "VideoCapture", Stopped)
    assert webcam.record(3, tmp_path / "cam.mp4") == 3
    assert len(list(Video(tmp_path / "cam.mp4"))) == 3


@pytest.mark.slow
def test_ctrl_c_keeps_finished_videos_and_the_same_command_goes_on(place):
    """In a process of its own, stopped while it draws the first video."""
    code = (
        "import os, signal, sys\n"
        "from deformer import predict\n"
        "from deformer.video import results\n"
        "def draw(*_): os.kill(os.getpid(), signal.SIGINT)\n"
        "results.draw_video = draw\n"
        "sys.exit(predict.main())\n"
    )
    line = [sys.executable, "-c", code, place.video, "--checkpoint", place.weights]
    line += ["--out", place.out, "--device", "cpu", "--boxes", place.boxes]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert "the same command goes on" in done.stderr
    assert [path.name for path in place.out.iterdir()] == ["vidéo one.hands.parquet"]
    before = place.file().stat().st_mtime_ns
    status, printed = place.run()
    assert status == 0 and "finished before" in printed
    assert place.file().stat().st_mtime_ns == before
    assert len(list(place.out.iterdir())) == 3


def test_help_names_every_option(place):
    status, printed = place.run("--help")
    assert status == 0
    for name in (
        "--checkpoint",
        "--boxes",
        "--intrinsics",
        "--fov",
        "--hand-length",
        "--no-render",
    ):
        assert name in printed
