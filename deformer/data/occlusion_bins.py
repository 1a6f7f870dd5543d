"""Ranges of occlusion: DexYCB's bins, which the paper's tables use, and others made of them.

Occlusion is the share of the hand that objects hide, 0 to 1; NaN where it is not known. A range
holds its lower border; a range that ends at 1 holds 1 too.
"""

import numpy as np

EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)
BINS = {"all": None, "25-50": EDGES[1:3], "50-75": EDGES[2:4], "75-100": EDGES[3:5]}
"""The columns of the tables. Frames below 25 %, or of unknown occlusion, are in `all` alone."""
OCCLUDED = EDGES[1]
"""From this hidden share on, a hand counts as occluded."""
SEEN, HIDDEN = (0.0, OCCLUDED), (0.5, 1.0)
"""Ranges that contrast hands seen well with hands hidden by half or more."""


def bin_of(occlusion: np.ndarray, edges: tuple[float, ...] | np.ndarray = EDGES) -> np.ndarray:
    """(N,) int: the number of the range between two neighbouring edges; −1 where not known."""
    number = np.minimum(np.digitize(occlusion, edges) - 1, len(edges) - 2)
    return np.where(np.isnan(occlusion), -1, number)


def is_in_bin(occlusion: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    """(N,) bool: which frames are in a range; None, as of `all`, holds every frame."""
    if limits is None:
        return np.ones(len(occlusion), bool)
    low, high = limits
    return (occlusion >= low) & ((occlusion < high) | (high == 1) & (occlusion == 1))
