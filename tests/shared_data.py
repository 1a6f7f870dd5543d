"""Data that no repository may hold: in the folder that $DEFORMER_SHARED names, by default `shared`
beside the checkout. Tests that need them are skipped where they are not there."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("DEFORMER_SHARED") or Path(__file__).parents[2] / "shared")
