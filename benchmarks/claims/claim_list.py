"""The claims that are judged, as data: those of the paper, and questions of ours.

A claim says that one kind of run has less of something than another kind. Three are the main ones,
one of each table and one of what the benchmark asks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.compare.comparable import Kind
from benchmarks.evaluation.protocol import BINS
from benchmarks.tables.layout import TABLES, read_published
from benchmarks.words import METRIC_NAMES, METRIC_UNITS

RANGES = BINS | {"50-100": (0.5, 1.0), "0-25": (0.0, 0.25)}
"""Occlusion, with borders as `BINS` has them."""

BEYOND = "not in the paper"


@dataclass(frozen=True)
class Claim:
    """One thing that the paper says, or that we would know: the better kind has less of something
    than the worse one."""

    source: str
    """Where the paper says it, or `BEYOND`."""
    sentence: str
    """In our words; it names the better kind first."""
    better: Kind
    worse: Kind
    metric: str = "pa_mpjpe_mm"
    """Of `words.METRIC_NAMES`."""
    occlusion: str = "all"
    """Of `RANGES`: the frames that count."""
    other_occlusion: str | None = None
    """Of `RANGES`. If given, the claim is that better − worse is less in `occlusion` than here."""
    statistic: Literal["mean", "unevenness"] = "mean"
    """Of the 21 joints' errors."""
    published: float | None = None
    """better − worse as the paper prints them, in mm, where it does."""
    is_main: bool = False
    """What counts most: one of each table, and of what the benchmark asks."""

    @property
    def label(self) -> str:
        """The source, in words."""
        is_contrary = self.published is not None and self.published > 0
        return f"{self.source}, printed the other way" if is_contrary else self.source

    @property
    def family(self) -> str:
        """Claims whose number a verdict is corrected for: the main ones, and the others of each
        source."""
        return "main" if self.is_main else self.source

    @property
    def unit(self) -> str:
        return METRIC_UNITS[self.metric] if self.statistic == "mean" else ""

    @property
    def measure(self) -> str:
        """What is compared, in words."""
        name = METRIC_NAMES[self.metric]
        words = f"{name} in {METRIC_UNITS[self.metric]}"
        if self.statistic == "unevenness":
            words = f"{name}, deviation ÷ mean over joints"
        if self.other_occlusion is not None:
            return f"differences of {words}: {self.occlusion} % and {self.other_occlusion} %"
        return f"{words}, {'all' if self.occlusion == 'all' else f'{self.occlusion} %'}"


_WHOLE, _CENTER, _AVERAGE, _WEIGHTED, _NEARBY, _PAIRWISE = (
    Kind(fusion) for fusion in ("dynamic", "center", "average", "occlusion", "nearby", "pairwise")
)
_MSE, _NOADV = Kind(point_loss="mse"), Kind(adversarial=False)
_NEITHER = Kind(point_loss="mse", adversarial=False)
_PA, _RA, _ACCEL = METRIC_NAMES
_DISCRIMINATOR = "training with the discriminator"


def _of_tables() -> Iterator[Claim]:
    """Of Tables 4 and 5, in all their ranges; the other edges of Table 5's square over all."""
    whole, everywhere, overall = _WHOLE, tuple(BINS), ("all",)
    printed = read_published()
    for number, sentence, better, worse, ranges, is_main in (
        (4, "dynamic fusion errs less than no fusion", whole, _CENTER, everywhere, True),
        (4, "dynamic fusion errs less than the plain average", whole, _AVERAGE, everywhere, False),
        (4, "dynamic fusion errs less than weights by occlusion", whole, _WEIGHTED, everywhere,
         False),
        (5, "maxMSE with the discriminator errs less than MSE without", whole, _NEITHER, everywhere,
         True),
        (5, "maxMSE errs less than MSE", whole, _MSE, everywhere, False),
        (5, f"{_DISCRIMINATOR} errs less than without", whole, _NOADV, everywhere, False),
        (5, "without the discriminator, maxMSE errs less than MSE", _NOADV, _NEITHER, overall,
         False),
        (5, f"with MSE, {_DISCRIMINATOR} errs less than without", _MSE, _NEITHER, overall, False),
    ):  # fmt: skip
        row_of = TABLES[number - 1].row_of  # a kind has what it asks of a run
        for name in ranges:
            one, other = (float(printed[number][row_of(k)][name][0]) for k in (better, worse))
            yield Claim(
                f"Table {number}", sentence, better, worse, occlusion=name,
                published=round(one - other, 2), is_main=is_main and name == "all",
            )  # fmt: skip


def _questions() -> Iterator[Claim]:
    whole = _WHOLE
    # The paper's motivation, but Table 4's gains are alike in all ranges
    sentence = "dynamic fusion gains more, over no fusion, on hidden hands than on seen ones"
    for metric in (_PA, _RA):
        yield Claim(BEYOND, sentence, whole, _CENTER, metric, "50-100", "0-25",
                    is_main=metric == _PA)  # fmt: skip
    # Table 2 has the whole method alone
    yield Claim(BEYOND, f"{_DISCRIMINATOR} jitters less than without", whole, _NOADV, _ACCEL)
    hidden, sentence = "75-100", "dynamic fusion jitters less than no fusion"
    yield Claim(BEYOND, sentence, whole, _CENTER, _ACCEL)
    yield Claim(BEYOND, sentence, whole, _CENTER, _ACCEL, hidden)  # asked when means were known
    # Alignment hides where the hand points, in which fusion changes most
    sentence = "dynamic fusion errs less than"
    yield Claim(BEYOND, f"{sentence} no fusion", whole, _CENTER, _RA)
    for name, worse in (
        ("no fusion", _CENTER), ("the plain average", _AVERAGE), ("weights by occlusion", _WEIGHTED)
    ):  # fmt: skip
        yield Claim(BEYOND, f"{sentence} {name}", whole, worse, _RA, hidden)
    sentence = "dynamic fusion that prefers near frames errs less than"
    for name, worse, metric, occlusion in (
        ("no fusion", _CENTER, _PA, "all"),
        ("no fusion", _CENTER, _RA, "all"),
        ("without", whole, _RA, "all"),
        ("no fusion", _CENTER, _RA, hidden),
        ("without", whole, _RA, hidden),
        ("the plain average", _AVERAGE, _RA, hidden),
    ):
        yield Claim(BEYOND, f"{sentence} {name}", _NEARBY, worse, metric, occlusion)
    sentence = "fusion by pairs of frames errs less than"
    for name, worse in (("no fusion", _CENTER), ("dynamic fusion", whole)):
        for metric, occlusion in ((_PA, "all"), (_RA, "all"), (_PA, hidden), (_RA, hidden)):
            yield Claim(BEYOND, f"{sentence} {name}", _PAIRWISE, worse, metric, occlusion)


_EVENNESS = Claim(
    "Fig. 3", "maxMSE makes the joints' errors more even than MSE", _WHOLE, _MSE,
    statistic="unevenness",
)  # fmt: skip
CLAIMS = tuple(
    sorted((*_of_tables(), _EVENNESS, *_questions()), key=lambda claim: not claim.is_main)
)
"""The main ones first, then the paper's, then the questions."""
