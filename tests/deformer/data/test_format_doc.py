"""shards/README.md and docs/conventions.md say what the code says.

    python -m tests.deformer.data.test_format_doc

writes their generated parts anew.
"""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from deformer.data.clip import FIELD, FIELDS, REASONS, ClipMeta
from deformer.data.index_rows import ANNOTATIONS_SCHEMA, frames_schema
from deformer.hand.conventions import JOINT_NAMES

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "shards" / "README.md"


def fields_table() -> str:
    lines = ["| name | type | shape | null | index | meaning |", "|---|---|---|---|---|---|"]
    for field in FIELDS:
        shape = " × ".join(map(str, field.shape))
        null = "yes" if field.nullable else ""
        lines.append(
            f"| `{field.name}` | {field.dtype} | {shape} | {null} | {field.table} "
            f"| {field.meaning} |"
        )
    return "\n".join(lines)


def reasons_table() -> str:
    rows = (f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items())
    return "\n".join(["| reason | meaning |", "|---|---|", *rows])


def joints_table() -> str:
    lines = ["| finger | joints |", "|---|---|"]
    for first, last in ((0, 1), *((k, k + 4) for k in range(1, 21, 4))):
        names = ", ".join(f"{j} `{JOINT_NAMES[j]}`" for j in range(first, last))
        lines.append(f"| {JOINT_NAMES[first].partition('_')[0]} | {names} |")
    return "\n".join(lines)


PARTS = {
    "fields": (DOCUMENT, fields_table),
    "reasons": (DOCUMENT, reasons_table),
    "joints": (ROOT / "docs" / "conventions.md", joints_table),
}


def generated_part(name: str) -> re.Pattern:
    return re.compile(f"(?<=<!-- {name}:begin -->\n)(.*?)(?=<!-- {name}:end -->)", re.DOTALL)


@pytest.mark.parametrize("name", PARTS)
def test_generated_part_is_up_to_date(name: str):
    document, render = PARTS[name]
    written = generated_part(name).search(document.read_text(encoding="utf-8"))
    assert written, f"{document} has lost its markers <!-- {name}:begin --> and <!-- {name}:end -->"
    expected = f"{render()}\n"
    assert written[0] == expected, (
        f"the part {name!r} of {document.name} is out of date; write it anew with\n"
        f"    python -m tests.deformer.data.test_format_doc\nIt should be:\n{expected}"
    )


def test_every_column_that_is_no_field_is_documented_with_its_type():
    written = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (frames|annotations|both) \| (yes|) ?\|",
        DOCUMENT.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert sorted(written) == sorted(columns_beside_fields())


def columns_beside_fields() -> list[tuple[str, str, str, str]]:
    columns = {}
    for table, schema in (
        ("frames", frames_schema(with_depth=True)),
        ("annotations", ANNOTATIONS_SCHEMA),
    ):
        for column in schema:
            if column.name not in FIELD:
                where = "both" if column.name in columns else table
                null = "yes" if column.nullable else ""
                columns[column.name] = (str(column.type), where, null)
    return [(name, *rest) for name, rest in columns.items()]


def test_every_key_of_the_json_is_documented():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [f.name for f in fields(ClipMeta) if f"`{f.name}`" not in text] == []


if __name__ == "__main__":
    for name, (document, render) in PARTS.items():
        text = document.read_text(encoding="utf-8")
        text = generated_part(name).sub(lambda _, render=render: f"{render()}\n", text)
        document.write_text(text, encoding="utf-8")
