"""The six tables of the paper: columns, notes, and the row that an evaluation belongs to.

The numbers that the paper prints are in `benchmarks.compare.published`.
"""

from dataclasses import dataclass, replace

from benchmarks.evaluation.protocol import EVALUATION_SPLITS
from benchmarks.evaluation.result import Data, Method, Run
from benchmarks.rivals import RIVALS, rival_of
from deformer.data.occlusion_bins import BINS
from deformer.experiments import OCCLUDED_HANDS
from deformer.variants import FULL, VARIANTS, variant_of

OUR_ROW = VARIANTS[FULL].rows[1]
"""The row of the whole method in Tables 1 to 3."""


@dataclass(frozen=True)
class Quantity:
    """One number in a cell: its metric and its format."""

    metric: str
    """One of `benchmarks.evaluation.protocol.METRICS`."""
    unit: str
    decimals: int
    scale: float = 1.0
    """Shares are shown ×100."""
    suffix: str = ""
    """What `published.csv` appends to the column's name: "_auc" for an AUC."""


@dataclass(frozen=True)
class Column:
    """A column of numbers; a second quantity stands in parentheses."""

    name: str
    """Its name in `published.csv`."""
    heading: str
    quantities: tuple[Quantity, ...]
    bin: str = "all"
    measured_heading: str = ""
    """The heading of measured numbers, if their unit differs from the printed one."""


@dataclass(frozen=True)
class Table:
    """One table of the paper."""

    number: int
    title: str
    first_heading: str
    dataset: str
    """The dataset of the published numbers: "dexycb" or "ho3d"."""
    split: str
    columns: tuple[Column, ...]
    is_ablation: bool = False
    """The table compares variants of this method; the others compare it with other methods."""
    has_input: bool = False
    notes: tuple[str, ...] = ()

    def takes(self, data: Data) -> bool:
        """Whether results on this data are in the table: data of its dataset or in its layout.
        Tables that compare methods also take those on occluded-hands, known by its split, so that
        each row of the paper has one there."""
        is_benchmark = data.synthetic and data.split == EVALUATION_SPLITS[OCCLUDED_HANDS]
        is_of_dataset = data.dataset.split("_")[0] == self.dataset
        return is_of_dataset or (is_benchmark and not self.is_ablation)

    def row_of(self, run: Run | Method) -> str | None:
        """The row that an evaluation belongs to; None if it belongs to none."""
        if isinstance(run, Method):
            return None if self.is_ablation else run.method
        method = rival_of(run.network) or variant_of(run.choices)
        return method and method.rows.get(self.number)


def _mm(metric: str, decimals: int) -> Quantity:
    return Quantity(metric, "mm", decimals)


def _percent(metric: str, suffix: str = "") -> Quantity:
    return Quantity(metric, "%", 1, scale=100.0, suffix=suffix)


def _joints(bin: str, heading: str) -> Column:
    quantities = (_mm("official_pa_mpjpe_mm", 2), _percent("official_pa_mpjpe_auc", "_auc"))
    return Column(bin, heading, quantities, bin)


def _never_mirrored(column: Column) -> Column:
    """The same column, with the alignment that does not mirror hands."""
    return replace(
        column,
        name=f"{column.name}_unmirrored",
        heading=f"{column.heading.removesuffix(' error')}, never mirrored",
        quantities=tuple(
            replace(q, metric=q.metric.removeprefix("official_")) for q in column.quantities
        ),
    )


_BY_OCCLUSION = tuple(
    _joints(bin, "Occlusion ({:.0%}-{:.0%})".format(*limits) if limits else "All")
    for bin, limits in BINS.items()
)
_BY_OCCLUSION += (_never_mirrored(_BY_OCCLUSION[0]),)
_TEMPORAL = (
    Column("root_aligned", "root-aligned MPJPE",
           (_mm("ra_mpjpe_mm", 2), _percent("ra_mpjpe_auc", "_auc"))),
    Column("accel", "Accel (mm/s^2)",
           (Quantity("accel_mm_per_frame2", "mm/frame²", 2),
            Quantity("accel_m_per_s2", "m/s²", 2, suffix="_m_per_s2")),
           measured_heading="Accel in mm/frame² (m/s²)"),
)  # fmt: skip
_JOINT = Column("joint", "Joint error", (_mm("official_pa_mpjpe_mm", 1),))
_VERTEX = Column("mesh", "Mesh error", (_mm("official_pa_mpvpe_mm", 1),))
_MESH = (
    _JOINT,
    _VERTEX,
    Column("f5", "F@5", (_percent("official_f5"),)),
    Column("f15", "F@15", (_percent("official_f15"),)),
    _never_mirrored(_JOINT),
    _never_mirrored(_VERTEX),
)
_ALIGNMENT_NOTE = (
    "Hands are aligned as the evaluators of DexYCB and of HO-3D, and so published numbers, do it: "
    "by FreiHAND's align_w_scale, which mirrors a hand where that fits better. The columns \"never "
    'mirrored" align measured rows by rotation, translation and scale alone.'
)
_ACCELERATION_NOTE = (
    "The paper gives the acceleration error in mm/s². That cannot be meant literally: 31.7 mm/s² "
    "at 30 frames/s is 0.035 mm/frame², 1/390 of the position error in the same row. What its "
    "unit is, the paper does not say. Measured rows state mm/frame² and, in parentheses, m/s²."
)
_SAME_NUMBERS_NOTE = (
    "The paper prints the numbers of Table 4's row Center again as the row ✗ ✗ of this table. "
    "Measured rows of this table all have dynamic fusion."
)
_DEXYCB, _HO3D = ((name, EVALUATION_SPLITS[name]) for name in ("dexycb", "ho3d"))

TABLES = (
    Table(1, "PA-MPJPE in mm (AUC ×100) on DexYCB", "Methods", *_DEXYCB, _BY_OCCLUSION,
          has_input=True, notes=(_ALIGNMENT_NOTE,)),
    Table(2, "Root-aligned MPJPE in mm (AUC ×100) and acceleration error on DexYCB", "Methods",
          *_DEXYCB, _TEMPORAL, notes=(_ACCELERATION_NOTE,)),
    Table(3, "PA-MPJPE and PA-MPVPE in mm and F-scores ×100 on HO-3D v2", "Methods", *_HO3D, _MESH,
          has_input=True, notes=(_ALIGNMENT_NOTE,)),
    Table(4, "Ablation of the dynamic fusion on DexYCB: PA-MPJPE in mm (AUC ×100)", "Aggregation",
          *_DEXYCB, _BY_OCCLUSION, is_ablation=True, notes=(_ALIGNMENT_NOTE,)),
    Table(5, "Ablation of maxMSE and motion discrimination on DexYCB: PA-MPJPE in mm (AUC ×100)",
          "maxMSE, Motion Discrimination", *_DEXYCB, _BY_OCCLUSION, is_ablation=True,
          notes=(_ALIGNMENT_NOTE, _SAME_NUMBERS_NOTE)),
    Table(6, "Ablation of the dynamic fusion on HO-3D v2: PA-MPJPE and PA-MPVPE in mm and F-scores "
          "×100", "Aggregation", *_HO3D, _MESH, is_ablation=True, notes=(_ALIGNMENT_NOTE,)),
)  # fmt: skip


def command_for(table: Table, row: str) -> str:
    """The command that measures a row on the paper's recordings."""
    data = f"--data shards/{table.dataset}"
    evaluate = f"python -m benchmarks.evaluate {data} --split {table.split}"
    if table.is_ablation:
        return f"python -m benchmarks.ablations --preset paper {data}"
    if table.dataset == "ho3d":
        evaluate += " --root RAW"
    if any(row == rival.rows.get(table.number) for rival in RIVALS.values()):
        tables = f"--tables {table.number}"
        return f"python -m benchmarks.ablations --preset paper {tables} {data}"
    if row != OUR_ROW:
        return f"{evaluate} --predictions FILE --method NAME --out results/NAME"
    run = f"runs/{table.dataset}"
    train = f"torchrun --nproc-per-node 8 -m deformer.train --experiment {table.dataset} {data}"
    return f"{train} --out {run} && {evaluate} --checkpoint {run} --out results/{table.dataset}"
