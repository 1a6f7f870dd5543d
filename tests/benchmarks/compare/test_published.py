"""The paper's numbers: all there, and as printed."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.compare.published import read_published
from benchmarks.tables.layout import OUR_ROW
from deformer.variants import VARIANTS
from tests.shared_data import SHARED

REPOSITORY = Path(__file__).parents[3]
_NUMBER = re.compile(r"\d+\.\d+")


@pytest.fixture(scope="module")
def lines() -> list[dict[str, str]]:
    with (REPOSITORY / "benchmarks" / "compare" / "published.csv").open(
        newline="", encoding="utf-8"
    ) as file:
        return list(csv.DictReader(file))


def test_every_number_is_there(lines):
    numbers = [line for line in lines if line["column"] != "input"]
    counts = Counter(line["table"] for line in numbers)
    # rows × columns, an AUC counted by itself
    assert counts == {
        "1": 10 * 8, "2": 7 * 3, "3": 8 * 4, "4": 4 * 8, "5": 4 * 8, "6": 4 * 4,
    }  # fmt: skip
    assert Counter(line["table"] for line in lines) == counts + Counter({"1": 10, "3": 8})
    keys = [(line["table"], line["row"], line["column"]) for line in lines]
    assert len(set(keys)) == len(keys)


def test_values_and_units(lines):
    published = read_published()
    assert published[1][OUR_ROW]["all"] == ("5.22", "mm")
    assert published[1][OUR_ROW]["all_auc"] == ("89.6", "%")
    assert published[1]["A2J [55]"]["75-100"] == ("19.59", "mm")
    assert published[1]["S2HAND(V) [51]"]["input"] == ("Sequence", "")
    assert published[2][OUR_ROW]["accel"] == ("31.7", "mm/s^2")
    assert published[2]["[40]+Temporal Transformer+maxMSE"]["root_aligned_auc"] == ("70.8", "%")
    assert published[3]["[40]"]["f5"] == ("56.4", "%")
    assert published[4]["Weighted (Occlusion Level)"]["75-100"] == ("6.33", "mm")
    assert published[5]["✓ ✗"]["25-50"] == ("6.05", "mm")
    assert published[6]["Dynamic"]["mesh"] == ("9.1", "mm")
    assert {line["unit"] for line in lines} == {"mm", "%", "mm/s^2", ""}


def test_every_number_is_as_in_the_paper(lines):
    """The rows of numbers in the paper's text, in its order, against those of the file."""
    path = SHARED / "paper" / "deformer_iccv2023.txt"
    if not path.is_file():
        pytest.skip(f"the paper's text, {path}, is not here")
    in_paper = []
    for line in path.read_text().splitlines():
        words = line.split("\t")
        numbers = [_NUMBER.findall(word) for word in words[1:]]
        if any(numbers):
            first = words[0] if words[0] not in "✗✓" else " ".join(words[:2])
            name = first.replace("$S^2HAND(V)$", "S2HAND(V)")
            in_paper.append((name, [n for found in numbers for n in found]))
    in_file: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line["column"] != "input":
            in_file.setdefault((line["table"], line["row"]), []).append(line["value"])
    assert in_paper == [(row, numbers) for (_, row), numbers in in_file.items()]
    assert len(in_paper) == 37


@pytest.mark.parametrize("number", [4, 5, 6])
def test_every_row_of_the_ablations_is_a_variant(number):
    rows = [v.rows[number] for v in VARIANTS.values() if v.in_paper and number in v.rows]
    assert sorted(rows) == sorted(read_published()[number])
