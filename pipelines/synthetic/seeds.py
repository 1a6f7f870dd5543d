"""The random numbers of synthesized sequences."""

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """The random numbers of one named thing, whatever the order of work or number of workers."""
    return np.random.default_rng([seed, *("/".join(names)).encode()])
