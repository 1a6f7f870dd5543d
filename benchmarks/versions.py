"""Versions and hardware of this machine, as pages tell them."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

from deformer.program.processor import processor, usable_cores

_PACKAGES = ("deformer-hands", "torch", "torchvision", "numpy", "smplx", "pyarrow", "matplotlib")


def machine_facts() -> list[tuple[str, str]]:
    """(name, value) each; nothing in them names the machine or its user."""
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return [
        ("python", platform.python_version()),
        *((name, _version(name)) for name in _PACKAGES),
        ("commit", _commit()),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("processor", f"{processor()}; {usable_cores()} cores to use"),
        ("GPU", ", ".join(gpus) or "none"),
    ]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "not known"
    return run.stdout.strip() if run.returncode == 0 else "not known"
