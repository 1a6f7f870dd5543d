"""Networks by name.

The Deformer is "deformer". Networks of other packages are named "package:name": the package has a
dictionary NETWORKS. It must have been imported, because a name may come from somebody's checkpoint,
and a checkpoint must not import anything.
"""

import sys
from typing import Literal

from deformer.network.model import Deformer
from deformer.network.network import Network

NETWORKS: dict[str, type[Network]] = {"deformer": Deformer}


def input_of(network: type[Network]) -> Literal["rgb", "depth"]:
    """Which images a network takes, as `StreamConfig.input`."""
    return "depth" if network.channels == 1 else "rgb"


def check_input(network: str, given: str) -> None:
    """Raises `ValueError` where a network does not take the images of a stream."""
    if given != (wanted := input_of(network_class(network))):
        raise ValueError(
            f"stream.input is {given}, but the network {network} takes {wanted}: choose "
            f"--stream.input {wanted}, or another experiment"
        )


def network_class(network: str) -> type[Network]:
    """Raises `ValueError` for an unknown name."""
    package, _, name = network.rpartition(":")
    if not package:
        known = NETWORKS
    elif package in sys.modules:
        known = getattr(sys.modules[package], "NETWORKS", {})
    else:
        raise ValueError(
            f"its network is {name} of the package {package}, which this command does not know: "
            "the commands of benchmarks know their rivals"
        )
    if name not in known:
        raise ValueError(f"there is no network {network!r}; known are {', '.join(known) or 'none'}")
    return known[name]
