"""How numbers and data are called wherever they are told: tables, claims, figures, report."""

from collections.abc import Iterable

from benchmarks.evaluation import Data

DEVIATION = "± is the standard deviation over seeds"


def common_start_text(starts: Iterable[str]) -> str:
    """What `DEVIATION` tells where all seeds of a kind of run began with one model, as a sentence.

    starts: the runs that these models are of."""
    return (
        f"All seeds began with one and the same model, that of {' or of '.join(starts)}: ± tells "
        "of chance in the training from there on, and nothing of chance before."
    )


def signed(value: float, decimals: int = 0) -> str:
    """With its sign, and a real minus."""
    return f"{value:+.{decimals}f}".replace("-", "−")


def provenance(data: Data) -> str:
    """Of which data, in a line; synthetic data are called so first."""
    kind = "SYNTHETIC data" if data.synthetic else "recordings"
    return f"{kind} · {data.name}, {data.split} · {data.frames:,} frames"
