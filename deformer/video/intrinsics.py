"""Intrinsics of a video's camera: given, from a field of view, or assumed. Never in silence.

--intrinsics 1432.1,1431.0,959.5,539.5      fx, fy, cx, cy, px of the video
--intrinsics camera.json                    {"K": [[…], […], […]], "width": …, "height": …}, or
                                            "fx", "fy", "cx", "cy" in place of "K"
--fov 60                                    degrees, across the image's width
"""

from math import atan, degrees, isfinite, radians, tan
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deformer.files.foreign import read_json
from deformer.files.patient import is_file
from deformer.video.hands import guess_intrinsics

_FARTHEST = 0.15
"""Without the size of the image, intrinsics whose principal point is farther from the centre, in
shares of width and height, are taken for those of another resolution."""
_FORM = "fx,fy,cx,cy in pixels, or a JSON file with fx, fy, cx, cy or K, and width and height"


class Camera(NamedTuple):
    K: np.ndarray
    """(3, 3)."""
    K_from: str
    """"given", or a text that begins with "assumed"."""


def camera_of(intrinsics: str | None, fov: float | None, image_wh: tuple[int, int]) -> Camera:
    """The camera of a video of this size.

    Raises `ValueError` for intrinsics that are none, that are of another resolution, or given with
    a field of view; `FileNotFoundError` for a missing file.
    """
    if intrinsics is not None and fov is not None:
        raise ValueError("--intrinsics and --fov exclude each other: give one")
    width, height = image_wh
    if intrinsics is not None:
        return Camera(_given(intrinsics, image_wh), "given")
    if fov is not None:
        if not 1 <= fov <= 170:
            raise ValueError(f"--fov is {fov}, must be 1 to 170 degrees, across the image's width")
        focal = width / 2 / tan(radians(fov) / 2)
        centre = (width - 1) / 2, (height - 1) / 2
        return Camera(_matrix(focal, focal, *centre), f"given: field of view {fov:g}°")
    K = guess_intrinsics(image_wh)
    angle = degrees(2 * atan(width / 2 / K[0, 0]))
    return Camera(K, f"assumed: field of view {angle:.0f}°, because no camera was given")


def _given(text: str, image_wh: tuple[int, int]) -> np.ndarray:
    path = Path(text)
    if path.suffix.lower() == ".json" or is_file(path):
        return _from_file(path, image_wh)
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4:
        raise ValueError(f"--intrinsics {text}: must be {_FORM}")
    K = _checked(_matrix(*values), text)
    _check_centre(K, text, image_wh)
    return K


def _from_file(path: Path, image_wh: tuple[int, int]) -> np.ndarray:
    if not is_file(path):
        raise FileNotFoundError(f"--intrinsics {path}: there is no such file")
    content = read_json(path)
    try:
        if "K" in content:
            K = np.array(content["K"], np.float64)
        else:
            K = _matrix(*(float(content[name]) for name in ("fx", "fy", "cx", "cy")))
        size = tuple(int(content[name]) for name in ("width", "height") if name in content)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f"--intrinsics {path}: must be {_FORM}") from None
    K = _checked(K, path)
    if len(size) < 2:
        _check_centre(K, path, image_wh)
    elif size != tuple(image_wh):
        raise _other_resolution(path, "{} × {}".format(*size), image_wh)
    return K


def _matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def _checked(K: np.ndarray, source: str | Path) -> np.ndarray:
    is_camera = K.shape == (3, 3) and all(map(isfinite, K.flat))
    if not is_camera or min(K[0, 0], K[1, 1]) <= 0 or K[1, 0] or K[2].tolist() != [0, 0, 1]:
        raise ValueError(
            f"--intrinsics {source}: is no camera, whose K is [[fx, skew, cx], [0, fy, cy], "
            "[0, 0, 1]] with fx and fy above 0"
        )
    return K


def _check_centre(K: np.ndarray, source: str | Path, image_wh: tuple[int, int]) -> None:
    cx, cy = K[:2, 2]
    if np.abs((K[:2, 2] + 0.5) / image_wh - 0.5).max() > _FARTHEST:
        raise _other_resolution(source, f"principal point {cx:g}, {cy:g}", image_wh)


def _other_resolution(source: str | Path, found: str, image_wh: tuple[int, int]) -> ValueError:
    width, height = image_wh
    return ValueError(
        f"--intrinsics {source}: seem to be of another resolution ({found}; the video has "
        f"{width} × {height}): scale them, or for a cropped video give a JSON file that also has "
        "width and height"
    )
