"""The numbers that the paper prints in its Tables 1 to 6.

Source: Fu et al., "Deformer: Dynamic Fusion Transformer for Robust Hand Pose Estimation", ICCV
2023. `published.csv` has them as printed: columns table, row, column, value, unit; an AUC or
F-score in %; the column `input` is text.
"""

import csv
from pathlib import Path

_FILE = Path(__file__).parent / "published.csv"


def read_published() -> dict[int, dict[str, dict[str, tuple[str, str]]]]:
    """Table → row → column → (value as printed, unit), rows in the paper's order."""
    tables: dict[int, dict[str, dict[str, tuple[str, str]]]] = {}
    with _FILE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            rows = tables.setdefault(int(line["table"]), {})
            rows.setdefault(line["row"], {})[line["column"]] = (line["value"], line["unit"])
    return tables
