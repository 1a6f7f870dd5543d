"""The page of a video's hands: what is in it, and what it does in a browser."""

import base64
import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deformer.hand.mano import HandLayer, load_hands
from deformer.video.frames import Video, VideoFrame
from deformer.video.hands_file import HandRows, HandsInfo
from deformer.video.meshes import hand_vertices
from deformer.video.page import pack, thin, write_page
from tests.browser import CHROMIUM, open_page
from tests.shared_data import SHARED

WIDTH, HEIGHT, NUM_FRAMES = 160, 90, 24
INFO = HandsInfo(
    source="clip.mp4", fps=25, width=WIDTH, height=HEIGHT, num_frames=NUM_FRAMES,
    K=((200, 0, 80), (0, 200, 45), (0, 0, 1)), K_from="given", checkpoint="lite",
    checkpoint_sha256="a" * 64, licence="Apache-2.0", hand_model="standin",
    hand_model_sha256="b" * 64, detector="boxes", fitted=False, smoothed=False,
    config_sha256="c" * 64,
)  # fmt: skip
NASTY = "</script><img src=x onerror=alert(1)>\"&'{{ 7 * 7 }}\u2028日本\udcff.mp4"
GAP, MUCH = 5, 10**9


@pytest.fixture(scope="module")
def hand_model():
    return load_hands("standin")


@pytest.fixture(scope="module")
def layer(hand_model):
    return HandLayer(hand_model)


def frames(num: int = NUM_FRAMES, width: int = WIDTH, height: int = HEIGHT):
    for k in range(num):
        image = np.full((height, width, 3), 10 * k % 250, np.uint8)
        yield VideoFrame(k, k / 25, image)


def moving_hands(num_frames: int = NUM_FRAMES) -> HandRows:
    """A right hand in every frame that closes and moves, a left one that begins later; every fifth
    one is filled in."""
    frame = np.concatenate([np.arange(num_frames), np.arange(GAP, num_frames)])
    is_left = np.arange(len(frame)) >= num_frames
    n, part = len(frame), frame / num_frames
    pose = np.zeros((n, 48))
    pose[:, 5::3] = np.where(is_left, -1.2, 1.2)[:, None] * part[:, None]
    joints_m = np.random.default_rng(0).normal(0, 0.03, (n, 21, 3))
    joints_m += np.stack([np.where(is_left, 0.2, -0.1) + 0.1 * part, 0 * part, 0.6 + part], 1)[
        :, None
    ]
    rows = HandRows(
        frame, frame / 25, is_left.astype(np.int64), is_left, frame % 5 != 4, np.ones(n),
        np.zeros((n, 4)), joints_m[..., :2] * 200 / joints_m[..., 2:] + [80, 45], joints_m,
        pose, np.full((n, 10), 0.3), np.full(n, 1.1), np.full((n, 7), 1 / 7), 3 + part,
    )  # fmt: skip
    return rows.at(np.lexsort([rows.track, rows.frame]))


@pytest.fixture(scope="module")
def write(tmp_path_factory, layer, hand_model):
    """Writes a page: (frames, hands, info) → its path."""

    def written(shown=None, hands=None, info=INFO) -> Path:
        path = tmp_path_factory.mktemp("pages") / "clip of hands é.hands.html"
        rows = moving_hands() if hands is None else hands
        write_page(path, shown or frames(), rows, info, layer, hand_model.right.faces)
        return path

    return written


def content(path: Path) -> dict:
    page = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])


def unpack(text: str, width: int) -> np.ndarray:
    differences = np.frombuffer(gzip.decompress(base64.b64decode(text)), "<i2")
    return np.cumsum(differences.reshape(-1, width), axis=0, dtype=np.int16)


# ------------------------------------------------------------------------------ what is in the page


def test_short_videos_keep_every_frame_and_long_ones_are_thinned_evenly():
    assert thin(frames(8), 8, MUCH).every == 1
    shown = thin(frames(25), 8, MUCH)
    assert (shown.every, shown.index.tolist()) == (4, [0, 4, 8, 12, 16, 20, 24])
    assert shown.time_s == pytest.approx(shown.index / 25)
    size = len(shown.jpegs[0])
    assert thin(frames(24), 400, 7 * size).index.tolist() == [0, 4, 8, 12, 16, 20]
    assert len(thin(frames(4), 400, 1).jpegs) == 1  # a page has a frame


def test_frames_are_made_small_and_never_large():
    for width, height, shape in ((1280, 720, (512, 288)), (90, 1600, (29, 512)), (3, 1, (3, 1))):
        shown = thin(frames(1, width, height), 400, MUCH)
        assert (shown.width, shown.height) == shape


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_packed_numbers_come_back_rounded_and_clipped(rows):
    values = np.random.default_rng(0).uniform(-50_000, 50_000, (rows, 4, 3))
    expected = np.rint(values).clip(-32768, 32767).reshape(rows, 12)
    assert unpack(pack(values), 12).tolist() == expected.tolist()


def test_the_page_holds_the_meshes_to_a_twentieth_of_a_millimetre(write, layer):
    hands = moving_hands()
    data = content(write(hands=hands))
    rows = hands.at(np.lexsort([hands.frame, hands.track]))
    assert data["rows"]["place"] == rows.frame.tolist()
    assert data["rows"]["track"] == rows.track.tolist()
    assert data["rows"]["observed"] == rows.is_observed.tolist()
    assert data["tracks"][1]["name"] == "1 left"
    from_wrist = unpack(data["vertices"], data["width"]).reshape(-1, 778, 3) * data["step"]
    vertices = from_wrist + np.array(data["rows"]["wrist"])[:, None]
    assert np.abs(vertices - hand_vertices(rows, layer)).max() < 0.0501e-3 + 0.05e-3
    joints = unpack(data["joints"], 42).reshape(-1, 21, 2) / data["parts"] - 0.5
    assert np.abs(joints - rows.joints_px).max() <= 0.5 / data["parts"] + 1e-6


def test_curves_are_in_the_units_they_state(write):
    hands = moving_hands()
    rows = hands.at(np.lexsort([hands.frame, hands.track]))
    depth, opening, pinch, spread = (curve["values"] for curve in content(write())["curves"])
    joints = rows.joints_cam_m
    tips = np.linalg.norm(joints[:, 4::4] - joints[:, :1], axis=-1).mean(1)
    assert depth == pytest.approx(joints[:, 0, 2] * 100, abs=0.01)
    assert opening == pytest.approx(tips * 1000, abs=0.01)
    assert pinch == pytest.approx(
        np.linalg.norm(joints[:, 4] - joints[:, 8], axis=-1) * 1000, abs=0.01
    )
    assert spread == pytest.approx(rows.spread_mm, abs=0.01)


def test_what_a_thinned_page_leaves_out_is_said(write, monkeypatch):
    monkeypatch.setattr("deformer.video.page.MOST_FRAMES", 10)
    path = write()
    data, page = content(path), path.read_text(encoding="utf-8")
    assert data["numbers"] == [0, 4, 8, 12, 16, 20]
    assert set(data["rows"]["place"]) == {0, 1, 2, 3, 4, 5}
    assert "shows one frame in 4<" in page and f"{2 * NUM_FRAMES - GAP} in 2 tracks" in page
    assert "one frame in" not in write(shown=frames(6)).read_text(encoding="utf-8")


def test_an_assumed_camera_is_said_plainly(write):
    said = "The camera was not given"
    assumed = write(info=replace(INFO, K_from="assumed: a field of view of 60°"))
    page = assumed.read_text(encoding="utf-8")
    assert page.count("assumed: a field of view of 60°") == 2 and said in page
    assert said not in write().read_text(encoding="utf-8")


def test_facts_are_those_of_the_footer(write):
    page = write(info=replace(INFO, hand_model="mano")).read_text(encoding="utf-8")
    facts = (
        "24 frames at 25 per second, 160 × 90 px",
        "43 in 2 tracks, 7 of them filled in; not smoothed",
        "given: fx 200.0, fy 200.0, cx 80.0, cy 45.0 px",
        "lite (aaaaaaaaaaaa)",
        "<dt>Its licence</dt><dd>Apache-2.0</dd>",
        "mano (bbbbbbbbbbbb): the meshes in this file are under MANO's licence",
        "<dd>boxes</dd>",
        "<dd>cccccccccccc</dd>",
    )
    for fact in facts:
        assert fact in page


def test_names_of_files_are_only_text(write):
    page = write(info=replace(INFO, source=NASTY)).read_text(encoding="utf-8")
    assert "<img src=x" not in page and "&lt;/script&gt;&lt;img src=x" in page
    assert "{{ 7 * 7 }}" in page and "日本" in page


def test_a_video_without_hands_has_a_page(write):
    path = write(hands=moving_hands().at(np.zeros(0, int)))
    assert "No hand was found" in path.read_text(encoding="utf-8")
    assert content(path)["tracks"] == []


def test_a_video_without_frames_is_one_line(tmp_path, layer, hand_model):
    with pytest.raises(ValueError, match="without frames"):
        path = tmp_path / "page.html"
        write_page(path, [], moving_hands(), INFO, layer, hand_model.right.faces)
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------- in a browser

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open it in")
READY = """new Promise((done) => setInterval(() => {
  if (document.getElementById("where").textContent && images[shown].complete) done(true);
}, 20))"""
PICTURES = '["frame", "space"].map((id) => document.getElementById(id).toDataURL())'
SCRUB = """((place) => {
  const slider = document.getElementById("slider");
  slider.value = place;
  slider.dispatchEvent(new Event("input"));
})(%d)"""


def is_clean(page, path: Path) -> bool:
    wanted = [request for request in page.requests if not request.startswith("data:")]
    return page.complaints == [] and wanted == [path.absolute().as_uri()]


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_the_slider_moves_frame_mesh_and_curves_without_a_network(write, width):
    path = write(info=replace(INFO, source=NASTY))
    with open_page(path, width, 800) as page:
        assert page.run(READY)
        assert page.run("document.title").startswith("Hands of </script><img src=x onerror")
        seen = [page.run(PICTURES)]
        for place in (3, 20):
            page.run(SCRUB % place)
            page.run(READY)
            seen.append(page.run(PICTURES))
            assert f"frame {place} ·" in page.run("document.getElementById('where').textContent")
            assert "1 left: –" in page.run("document.body.innerText") or place != 3
        for pictures in zip(*seen, strict=True):
            assert len(set(pictures)) == 3
        marks = page.run("[...document.querySelectorAll('.cursor')].map((mark) => mark.style.left)")
        assert len(marks) == 4 and len(set(marks)) == 1 and marks[0] > "0"
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        assert is_clean(page, path)


@in_browser
@pytest.mark.slow
def test_play_reaches_the_end_and_dragging_turns_the_hands(write):
    path = write()
    with open_page(path) as page:
        page.run(READY)
        page.run("""document.getElementById("play").click()""")
        page.run("new Promise((done) => setInterval(() => playing || done(), 20))")
        assert page.run("shown") == NUM_FRAMES - 1
        before = page.run(PICTURES)
        where = page.run(
            "(({x, y}) => [x, y])(document.getElementById('space').getBoundingClientRect())"
        )
        x, y = where[0] + 100, where[1] + 100
        for kind, dx in (("mousePressed", 0), ("mouseMoved", 40), ("mouseReleased", 40)):
            options = {"button": "left", "buttons": 1, "clickCount": 1}
            page.call("Input.dispatchMouseEvent", type=kind, x=x + dx, y=y, **options)
        after = page.run(PICTURES)
        assert after[0] == before[0] and after[1] != before[1]
        assert is_clean(page, path)


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["no hands", "one frame", "one hand"])
def test_little_pages_open(write, kind):
    rows = moving_hands()
    chosen = {"no hands": rows.frame < 0, "one frame": rows.frame == 0, "one hand": rows.frame == 3}
    path = write(frames(1 if kind == "one frame" else 6), rows.at(chosen[kind]))
    with open_page(path) as page:
        assert page.run(READY)
        assert page.run("document.getElementById('fault').hidden")
        assert is_clean(page, path)


@in_browser
@pytest.mark.slow
def test_a_real_clip_has_a_page_of_some_megabytes(write):
    clip = SHARED / "data/clips/coffee.mp4"
    if not clip.is_file():
        pytest.skip(f"{clip} is not there")
    path = write(
        Video(clip), moving_hands(287), replace(INFO, width=1280, height=720, num_frames=287)
    )
    assert path.stat().st_size < 9e6
    with open_page(path) as page:
        assert page.run(READY)
        assert is_clean(page, path)
