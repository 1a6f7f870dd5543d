"""The sequences of a synthesized root: some of the real dataset's, spread over all splits."""

from dataclasses import dataclass

from deformer.data.official import SERIALS, Recording, recordings
from pipelines.synthetic.scene.setting import EVERYTHING, Setting

# The first three subjects, and the number of their first sequence, fill every cell of s0, s1, s3:
# subject 0 with i % 5 = 4 (s0 val, s1 train, s3 train), subject 6 (s0 train, s1 val, s3 val,
# and a left hand),
# subject 7 with i % 5 = 4 (s0 test, s1 test, s3 test).
_SUBJECT_ORDER = (0, 6, 7, 1, 2, 3, 8, 4, 9, 5)
_FIRST_SEQUENCE = {0: 4, 6: 17, 7: 39}
_STRIDE = 37  # coprime to 100: every subject's sequences come once each, well mixed

_VAL_EVERY = 25


@dataclass(frozen=True)
class SequencePlan:
    """One sequence to make. subject is empty in HO-3D, split "train" or "evaluation" there only."""

    name: str
    subject: str
    side: str
    object_name: str
    split: str = ""
    setting: Setting = EVERYTHING

    @property
    def folder(self) -> str:
        """Relative to the root."""
        return f"{self.split or self.subject}/{self.name}"


def dexycb_plan(count: int | None) -> list[SequencePlan]:
    """`count` of DexYCB's 1000 sequences (None: all), in the order in which they are made."""
    by_subject: dict[str, list[Recording]] = {}
    for row in recordings():
        by_subject.setdefault(row.subject, []).append(row)
    subjects = sorted(by_subject)
    order = []
    for turn in range(100):
        for s in _SUBJECT_ORDER:
            i = (_FIRST_SEQUENCE.get(s, 17 * s + 3) + _STRIDE * turn) % 100
            row = by_subject[subjects[s]][i]
            order.append(SequencePlan(row.sequence, row.subject, row.side, row.object))
    return order[: _checked(count, len(order), "DexYCB")]


def dexycb_serials(count: int) -> list[str]:
    """`count` of the eight cameras; from three on, those of s2's val and test are among them."""
    if not 1 <= count <= len(SERIALS):
        raise ValueError(f"--cameras {count}: DexYCB's rig has 1 to {len(SERIALS)}")
    chosen = {0} if count == 1 else {7, *range(count - 1)}
    if count >= 3:
        chosen = {6, 7, *range(count - 2)}
    return [SERIALS[k] for k in sorted(chosen)]


_HO3D_NAMES = {
    "021_bleach_cleanser": "ABF SB",
    "011_banana": "BB SiBF",
    "010_potted_meat_can": "GPMF MPM",
    "037_scissors": "GSF",
    "003_cracker_box": "MC",
    "035_power_drill": "MDF ND",
    "006_mustard_bottle": "SM",
    "025_mug": "SMu",
    "004_sugar_box": "SS ShSu SiS",
    "019_pitcher_base": "AP",
}
_HO3D_OBJECTS = {name: thing for thing, names in _HO3D_NAMES.items() for name in names.split()}
_HO3D_TRAIN = (
    "ABF10", "BB10", "GPMF10", "GSF10", "MC1", "MDF10", "ND2", "SB10", "SM2", "SMu1", "SS1",
    "ShSu10", "SiBF10", "SiS1", "ABF11", "BB11", "GPMF11", "GSF11", "MC2", "MDF11", "SB12",
    "SM3", "SMu40", "SS2", "ShSu12", "SiBF11", "ABF12", "BB12", "GPMF12", "GSF12", "MC4",
    "MDF12", "SB14", "SM4", "SMu41", "SS3", "ShSu13", "SiBF12", "ABF13", "BB13", "GPMF13",
    "GSF13", "MC5", "MDF13", "SM5", "SMu42", "ShSu14", "SiBF13", "ABF14", "BB14", "GPMF14",
    "GSF14", "MC6", "MDF14", "SiBF14",
)  # fmt: skip
_HO3D_EVALUATION = (
    "SM1", "MPM10", "AP10", "SB11", "MPM11", "AP11", "SB13", "MPM12", "AP12", "MPM13",
    "AP13", "MPM14", "AP14",
)  # fmt: skip


def ho3d_plan(count: int | None) -> list[SequencePlan]:
    """`count` of HO-3D v2's 68 sequences (None: all), one for evaluation to four for training."""
    train, evaluation = [*_HO3D_TRAIN], [*_HO3D_EVALUATION]
    order = []
    while train or evaluation:
        take_evaluation = evaluation and (not train or len(order) % 5 == 1)
        name = (evaluation if take_evaluation else train).pop(0)
        thing = _HO3D_OBJECTS[name.rstrip("0123456789")]
        order.append(
            SequencePlan(name, "", "right", thing, "evaluation" if take_evaluation else "train")
        )
    return order[: _checked(count, len(order), "HO-3D")]


def hands_plan(count: int) -> list[SequencePlan]:
    """`count` sequences, one for validation to twenty-four for training."""
    if count < 1:
        raise ValueError(f"--sequences {count}: at least 1")
    splits = ["val" if k % _VAL_EVERY == _VAL_EVERY - 1 else "train" for k in range(count)]
    return [SequencePlan(f"{k:06d}", "", "", "", split) for k, split in enumerate(splits)]


def _checked(count: int | None, available: int, dataset: str) -> int:
    if count is None:
        return available
    if not 1 <= count <= available:
        raise ValueError(
            f"--sequences {count}: {dataset} has 1 to {available} sequences; `all` takes every one"
        )
    return count
