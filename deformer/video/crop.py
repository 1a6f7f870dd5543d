"""Hands of an image as the network takes them: cut out just as the stream cuts training's."""

import numpy as np

from deformer.data.augment import Draw, crop_to_input, warp_to_input
from deformer.hand.box import hand_box


def crop_hands(image_rgb: np.ndarray, tight_boxes_px: np.ndarray, size: int) -> np.ndarray:
    """The input images (N, size, size, 3) uint8 of N hands in an image (H, W, 3) uint8.

    tight_boxes_px (N, 4): tight boxes of the 2D joints, px of the image, not clipped to it. An
    input shows the hand box, `hand_box` of these; what lies outside the image is black.
    """
    affine = crop_to_input(*hand_box(np.asarray(tight_boxes_px, np.float64)), Draw(), size)
    inputs = np.empty((len(affine), size, size, 3), np.uint8)
    for i, matrix in enumerate(affine):
        inputs[i] = warp_to_input(image_rgb, matrix, size)
    return inputs


def boxes_of_inputs(num: int, size: int) -> np.ndarray:
    """Where the hand box lies in inputs of `crop_hands`: all of them, (num, 4), x0 y0 x1 y1."""
    return np.tile(np.array([-0.5, -0.5, size - 0.5, size - 0.5], np.float32), (num, 1))


def boxes_in_image(tight_boxes_px: np.ndarray) -> np.ndarray:
    """The hand boxes in the image itself: (N, 4), x0 y0 x1 y1."""
    centre, side = hand_box(np.asarray(tight_boxes_px, np.float64))
    half = side[:, None] / 2
    return np.concatenate([centre - half, centre + half], 1)
