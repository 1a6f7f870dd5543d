"""Ranges of occlusion: their borders, and what is not known."""

import numpy as np

from deformer.data.occlusion_bins import BINS, HIDDEN, SEEN, bin_of, is_in_bin

SHARES = np.array([0, 0.2499, 0.25, 0.5, 0.75, 1, np.nan], np.float32)


def test_a_range_holds_its_lower_border_and_the_last_one_its_upper():
    assert bin_of(SHARES).tolist() == [0, 0, 1, 2, 3, 3, -1]
    found = {name: np.flatnonzero(is_in_bin(SHARES, limits)).tolist()
             for name, limits in (BINS | {"seen": SEEN, "hidden": HIDDEN}).items()}  # fmt: skip
    assert found == {
        "all": [0, 1, 2, 3, 4, 5, 6], "25-50": [2], "50-75": [3], "75-100": [4, 5],
        "seen": [0, 1], "hidden": [3, 4, 5],
    }  # fmt: skip
