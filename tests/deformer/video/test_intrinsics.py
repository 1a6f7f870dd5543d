"""The camera of a video: given, from a field of view, or assumed."""

import json

import numpy as np
import pytest

from deformer.video.intrinsics import camera_of

WH = (640, 480)
MATRIX = [[500, 0, 320], [0, 501, 240], [0, 0, 1]]


def test_nothing_given_is_assumed_and_said():
    K, how = camera_of(None, None, WH)
    assert K.tolist() == [[768, 0, 319.5], [0, 768, 239.5], [0, 0, 1]]
    assert how == "assumed: field of view 45°, because no camera was given"


def test_a_field_of_view_is_across_the_width():
    K, how = camera_of(None, 90, WH)
    np.testing.assert_allclose(K, [[320, 0, 319.5], [0, 320, 239.5], [0, 0, 1]])
    assert how == "given: field of view 90°"


@pytest.mark.parametrize(
    "content",
    [
        {"K": MATRIX},
        {"K": MATRIX, "width": 640, "height": 480},
        {"fx": 500, "fy": 501, "cx": 320, "cy": 240},
    ],
)
def test_intrinsics_come_from_the_command_line_or_a_file(tmp_path, content):
    path = tmp_path / "meine kämera.json"
    path.write_text(json.dumps(content))
    for given in (str(path), "500,501, 320,240"):
        K, how = camera_of(given, None, WH)
        assert K.tolist() == MATRIX
        assert how == "given"


@pytest.mark.parametrize("given", ["960,960,960,540", "1440,1440,479.5,359.5", "300,300,160,120"])
def test_intrinsics_of_another_resolution_are_refused(given):
    with pytest.raises(ValueError, match=r"another resolution .*the video has 640 × 480"):
        camera_of(given, None, WH)


def test_a_file_that_names_its_size_is_believed(tmp_path):
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"K": MATRIX, "width": 1280, "height": 960}))
    with pytest.raises(ValueError, match=r"another resolution \(1280 × 960; the video has 640"):
        camera_of(str(path), None, WH)
    cropped = {"fx": 500, "fy": 500, "cx": 20, "cy": 600, "width": 640, "height": 480}
    path.write_text(json.dumps(cropped))
    assert camera_of(str(path), None, WH).K[:2, 2].tolist() == [20, 600]


@pytest.mark.parametrize("given", ["1,2,3", "a,b,c,d", "camera", ""])
def test_what_is_no_camera_is_one_line(given):
    with pytest.raises(ValueError, match=r"must be fx,fy,cx,cy in pixels, or a JSON file"):
        camera_of(given, None, WH)


@pytest.mark.parametrize("given", ["0,500,320,240", "nan,500,320,240", "500,-1,320,240"])
def test_impossible_cameras_are_refused(given):
    with pytest.raises(ValueError, match="is no camera"):
        camera_of(given, None, WH)


@pytest.mark.parametrize(
    "content", [{"fx": 1}, {"K": [1, 2]}, {"K": "x"}, {"K": np.eye(4).tolist()}, {"fx": None}]
)
def test_files_of_something_else_are_refused(tmp_path, content):
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"--intrinsics .*camera.json: "):
        camera_of(str(path), None, WH)


def test_other_faults_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        camera_of(str(tmp_path / "none.json"), None, WH)
    with pytest.raises(ValueError, match="exclude each other"):
        camera_of("500,500,320,240", 60, WH)
    with pytest.raises(ValueError, match="--fov is 200, must be 1 to 170"):
        camera_of(None, 200, WH)
