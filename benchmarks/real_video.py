"""Compare a network's joints on a real video with MediaPipe's landmarks.

    python -m benchmarks.real_video --checkpoint runs/dexycb --video clip.mp4 [--out DIR]

Networks here are trained on laboratory recordings or synthetic pictures; this shows whether they
see hands elsewhere. MediaPipe's landmarks are a yardstick, not the truth: another network predicts
them, on the skin instead of at MANO's joints, and sometimes wrongly. If a hand holds something, one
in six landmarks of MediaPipe's own two modes differ by more than a tenth of the box.

The measure is the share of joints within 0.1 (0.2) sides of the hand box from MediaPipe's landmark
of that joint. The hand box is the tight box of the landmarks, made square, times 1.5; the network
sees this box. Detections with a landmark outside the image are left out. For each frame by itself
("single") and for windows ("window") it measures:

- joints_2d: the network's 2D joints in the box;
- projected_3d: its 3D joints, placed so that they project as near as possible to its own 2D joints.
  The camera is not known: its focal length is taken as 1.2 times the longer side.

It writes `real_video.json` and `real_video.png`: twelve hands with MediaPipe's landmarks (white),
the network's 2D joints (coloured) and its mesh.
"""

import sys
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.table import Table

from deformer.data.augment import Draw, crop_to_input, warp_to_input
from deformer.data.windows import WindowConfig
from deformer.files.sealed import write_json
from deformer.files.whole import write_whole
from deformer.hand.box import hand_box, tight_box
from deformer.hand.camera import project
from deformer.hand.conventions import FINGERS_RGB, JOINT_PARENTS
from deformer.network.model import Deformer
from deformer.program.console import PlainConsole, run_program
from deformer.training.checkpoint import Checkpoint
from deformer.training.weights_file import open_network
from deformer.video.frames import Video
from deformer.video.hands import (
    FOCAL_PER_SIDE,
    PredictedHands,
    SeenHands,
    encode_hands,
    guess_intrinsics,
    predict_hands,
    see_hands,
)
from deformer.video.ink import TRACKS_RGB
from deformer.video.meshes import Look, draw_mesh, is_in_front
from deformer.video.network import trained_for_videos

WITHIN = (0.1, 0.2)
_TILES, _COLUMNS = 12, 4
_TILE = 240
_ZOOM_IN = 4
"""OpenCV takes line ends in units of 2⁻⁴ px, so that lines can end between pixels."""
_WHITE = (255, 255, 255)
_LOOK = Look(0.75, 0.75)


@dataclass(frozen=True)
class Options:
    """Which network and which video."""

    checkpoint: Path
    """A run, one of its checkpoints, a file of weights, or the name of weights that ship."""
    video: Path
    """A file that FFmpeg reads. It must not be mirrored, or left and right hands are confused."""
    out: Path = Path("results/real_video")
    """The folder of the result."""
    which: str = "best"
    """Which checkpoint of a run: best, last, or a step. Without validation, best is the last."""
    window: WindowConfig = field(default_factory=WindowConfig)
    """By default the paper's windows, whatever the network was trained with."""
    mano_dir: Path | None = None
    """The folder with MANO's files, for networks trained with MANO; by default the folder in
    $MANO_DIR."""


def load_network(options: Options) -> tuple[Checkpoint, Deformer, np.ndarray]:
    """The checkpoint, its network, and the faces of its hand model, (F, 3).

    Raises `ValueError` if the network was trained with another hand model, or needs to know how
    much of a hand is hidden.
    """
    checkpoint, hands = trained_for_videos(options.checkpoint, options.which, options.mano_dir)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = open_network(checkpoint, hands, device)
    return checkpoint, model, hands.right.faces


# ---------------------------------------------------------------------------------- the measure


def agreement(points_px: np.ndarray, landmarks_px: np.ndarray) -> dict[str, float]:
    """Shares of joints (N, 21, 2) near their landmarks (N, 21, 2), and the median distance.
    Distances are in sides of the hand box. A joint without an image (NaN) is near no landmark."""
    _, side = hand_box(tight_box(landmarks_px))
    distance = np.linalg.norm(points_px - landmarks_px, axis=-1) / side[:, None]
    distance = np.where(np.isfinite(distance), distance, np.inf)
    shares = {f"within_{limit}": float((distance <= limit).mean()) for limit in WITHIN}
    return shares | {"median_distance": float(np.median(distance))}


def measure(seen: SeenHands, predicted: PredictedHands) -> dict[str, dict[str, float]]:
    """{"joints_2d" or "projected_3d": `agreement`}."""
    projected = project(predicted.joints_cam_m, guess_intrinsics(seen.image_wh))
    return {
        "joints_2d": agreement(predicted.joints_px, seen.landmarks_px),
        "projected_3d": agreement(projected, seen.landmarks_px),
    }


# ------------------------------------------------------------------------------------ the sheet


def _draw_pair(
    image: np.ndarray,
    landmarks_px: np.ndarray,
    joints_px: np.ndarray,
    vertices_cam_m: np.ndarray,
    faces: np.ndarray,
    K: np.ndarray,
    label: str,
) -> np.ndarray:
    """The hand box of an image (H, W, 3) twice, side by side (240, 480, 3). Left: landmarks in
    white and joints in the fingers' colours, (21, 2) each. Right: the mesh (778, 3) under K (3,
    3)."""
    centre, side = hand_box(tight_box(landmarks_px))
    affine = crop_to_input(centre[None], side[None], Draw(), _TILE)[0]
    tile = warp_to_input(image, affine, _TILE)
    lines = tile.copy()
    for points, rgb in ((landmarks_px, (_WHITE,) * 5), (joints_px, FINGERS_RGB)):
        _draw_bones(lines, points @ affine[:2, :2].T + affine[:2, 2], rgb)
    cv2.putText(lines, label, (5, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA)
    mesh = tile
    if is_in_front(vertices_cam_m):
        mesh = draw_mesh(tile, vertices_cam_m, faces, affine @ K, TRACKS_RGB[0], _LOOK)
    return np.concatenate([lines, mesh], 1)


def _draw_bones(image: np.ndarray, points_px: np.ndarray, finger_rgb: tuple) -> None:
    fixed = np.rint(np.clip(points_px, -1e3, 1e3) * 2**_ZOOM_IN).astype(int)
    for j, parent in enumerate(JOINT_PARENTS[1:], 1):
        ends = tuple(fixed[parent]), tuple(fixed[j])
        cv2.line(image, *ends, finger_rgb[(j - 1) // 4], 1, cv2.LINE_AA, _ZOOM_IN)


def _draw_hands(
    video: Path, seen: SeenHands, predicted: PredictedHands, tiles: np.ndarray, faces: np.ndarray
) -> np.ndarray:
    """The hands `tiles` (places among the seen hands) in rows of four; the last row is filled up
    with black."""
    K = guess_intrinsics(seen.image_wh)
    empty = np.zeros((_TILE, 2 * _TILE, 3), np.uint8)
    pairs = [empty] * (len(tiles) + -len(tiles) % _COLUMNS)
    for k, _, image in Video(video):
        for place in np.flatnonzero(seen.frame[tiles] == k).tolist():
            i = tiles[place]
            values = predicted.joints_px[i], predicted.vertices_cam_m[i]
            label = f"{k} {'left' if seen.is_left[i] else 'right'}"
            pairs[place] = _draw_pair(image, seen.landmarks_px[i], *values, faces, K, label)
    rows = [np.concatenate(pairs[i : i + _COLUMNS], 1) for i in range(0, len(pairs), _COLUMNS)]
    return np.concatenate(rows)


# ---------------------------------------------------------------------------------- the command


def _measure_video(options: Options) -> dict:
    """Measure, write both files, and return the content of the JSON."""
    checkpoint, model, faces = load_network(options)
    seen = see_hands(options.video, checkpoint.experiment.stream.size)
    features = encode_hands(model, seen)
    single = predict_hands(model, seen, features, WindowConfig(num_frames=1))
    window = predict_hands(model, seen, features, options.window)
    result = {
        "video": options.video.name,
        "frames": seen.num_frames,
        "hands": {"right": int((~seen.is_left).sum()), "left": int(seen.is_left.sum())},
        "detections_left_out": seen.num_left_out,
        "checkpoint": str(options.checkpoint),
        "experiment": checkpoint.experiment.name,
        "step": checkpoint.step,
        "model_sha256": checkpoint.model_sha256,
        "mediapipe": version("mediapipe"),
        "focal_per_side": FOCAL_PER_SIDE,
        "window": asdict(options.window),
        "agreement": {"single": measure(seen, single), "window": measure(seen, window)},
    }
    write_json(options.out / "real_video.json", result)
    tiles = np.unique(np.linspace(0, len(seen.frame) - 1, _TILES).astype(int))  # of both sides
    sheet = _draw_hands(options.video, seen, window, tiles, faces)
    _, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    write_whole(options.out / "real_video.png", png.tobytes())
    return result


def _as_table(result: dict) -> Table:
    table = Table("", *(f"within {limit}" for limit in WITHIN), "median")
    for frames, kinds in result["agreement"].items():
        for kind, values in kinds.items():
            shares = [f"{values[f'within_{limit}']:.1%}" for limit in WITHIN]
            table.add_row(f"{frames} {kind}", *shares, f"{values['median_distance']:.3f}")
    return table


def run(options: Options) -> None:
    """Measure, and print the shares."""
    result, console = _measure_video(options), PlainConsole()
    console.print(_as_table(result))
    console.print(f"→ {options.out}", soft_wrap=True)


def main() -> int:
    return run_program(run, Options, "benchmarks.real_video", __doc__)


if __name__ == "__main__":
    sys.exit(main())
