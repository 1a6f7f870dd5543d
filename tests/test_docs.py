"""What the pages claim in code holds, and what they link to is there."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tyro

from benchmarks.submissions.file_order import dexycb_order
from deformer import export_onnx
from deformer.data.occlusion_bins import BINS, is_in_bin
from deformer.export import Format, export
from deformer.export import Options as ExportOptions
from tests.test_readme import PAGES, ROOT, _lines_of, _words

CARDS = sorted(ROOT.glob("deformer/*/*.md"))


def _python_of(name: str) -> list[str]:
    page = (ROOT / "docs" / name).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


@pytest.fixture
def demo(raw_root, tmp_path, monkeypatch) -> Path:
    """The current folder has a dataset in shards/demo."""
    from tests.deformer.small_runs import build_dataset

    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "demo").symlink_to(build_dataset(raw_root))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_conventions_hold(demo):
    blocks = _python_of("conventions.md")
    assert sum(block.count("assert ") for block in blocks) > 15
    exec("\n".join(blocks), {})


def test_the_stream_by_itself(demo, capsys):
    _, batches, clips = _python_of("training.md")
    exec(batches.replace("workers=2", "workers=0"), {})
    assert "torch.Size([8, 7, 3, 256, 256])" in capsys.readouterr().out
    exec(clips, {})
    assert re.search(r"\S+ (\d+) \(\1, 21, 2\)", capsys.readouterr().out)


def test_the_exports_are_as_their_page_says(tmp_path, monkeypatch):
    """The page's commands, then its Python, but for the network's."""
    from tests.deformer.video.hand_rows import write_clip, write_video

    monkeypatch.chdir(tmp_path)
    write_clip(Path(), num_frames=write_video(Path("clip.mp4")))
    lines = [line for line in _lines_of(ROOT / "docs" / "exports.md") if "deformer.export " in line]
    assert len(lines) == len(get_args(Format))
    for line in lines:
        export(tyro.cli(ExportOptions, args=_words(line)[1]))
    *blocks, _ = _python_of("exports.md")
    assert sum(block.count("assert ") for block in blocks) > 15
    exec("\n".join(blocks), {})


@pytest.mark.slow  # writing 27 MB of network takes 10 s
def test_the_exported_network_is_called_as_its_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (line,) = [x for x in _lines_of(ROOT / "docs" / "exports.md") if "deformer.export_onnx" in x]
    export_onnx.run(tyro.cli(export_onnx.Options, args=_words(line)[1]))
    exec("import numpy as np\n" + _python_of("exports.md")[-1], {})


def test_frames_of_the_occlusion_bins_are_those_of_the_protocol(tmp_path, monkeypatch):
    """By the same numbers as DexYCB's files, whatever the order of the index."""
    rng = np.random.default_rng(0)
    clips = [(f"s{a}", f"q{b}", f"c{c}") for a in range(2) for b in range(2) for c in range(3)]
    rows = [
        {"subject": subject, "sequence": sequence, "camera": camera, "frame": frame, "side": "left"}
        for subject, sequence, camera in clips
        for frame in range(10)
    ]
    for row, occlusion in zip(
        rows, rng.choice([0, 0.2, 0.25, 0.4, 0.5, 0.75, 1], len(rows)), strict=True
    ):
        hand = rng.random() > 0.2
        row["joints_in_image"] = int(rng.integers(0, 22)) if hand else -1
        row["occlusion"] = float(occlusion) if hand and rng.random() > 0.1 else None
    test = pa.Table.from_pylist([rows[i] for i in rng.permutation(len(rows))])
    assert test["occlusion"].null_count and pc.min(test["joints_in_image"]).as_py() == -1
    others = [{**row, "s0": "train", "is_halo": False} for row in rows[:10]]
    others += [{**row, "s0": "test", "is_halo": True} for row in rows[:10]]
    folder = tmp_path / "shards" / "dexycb"
    folder.mkdir(parents=True)
    index = others + [{**row, "s0": "test", "is_halo": False} for row in test.to_pylist()]
    pq.write_table(pa.Table.from_pylist(index), folder / "frames.parquet")

    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec("\n".join(_python_of("occlusion-bins.md")), names)
    found = duckdb.sql("SELECT id, bin FROM 'dexycb_s0_test_bins.csv'").fetchall()

    order = dexycb_order(test, "s0_test")
    occlusion = np.array([np.nan if o is None else o for o in test["occlusion"].to_pylist()])
    expected = [
        (int(id), name)
        for name, limits in BINS.items()
        for id in order.index[order.is_required & is_in_bin(occlusion, limits)]
        if limits is not None
    ]
    assert found == sorted(expected)
    assert {name for _, name in found} == set(BINS) - {"all"}


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    for link in links:
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in [_anchor(heading) for heading in headings], link


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_reached_from_the_readme():
    readme = (ROOT / "README.md").read_text("utf-8")
    pages = [page.relative_to(ROOT).as_posix() for page in PAGES[1:]]
    assert [page for page in pages if f"({page}" not in readme] == []


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in wanted}
    readme = (ROOT / "README.md").read_text("utf-8")
    table = readme.partition("## Dependencies")[2].partition("\n## ")[0]
    cells = "\n".join(line.split(" | ")[0] for line in table.splitlines() if "|" in line)
    named = set(re.findall(r"[a-z][\w-]*", cells))
    assert names - named == set()


def test_the_tests_of_the_guarantees_are_there():
    page = (ROOT / "docs" / "GUARANTEES.md").read_text("utf-8")
    named = re.findall(r"`(?:…|test)(_\w+\.py)`", page)
    there = {path.name for path in (ROOT / "tests" / "faults").glob("test_*.py")}
    assert len(named) > 12
    assert [name for name in named if not any(path.endswith(name) for path in there)] == []
