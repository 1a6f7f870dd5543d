"""The file of a video's hands: written, read, and read after other programs wrote it."""

import numpy as np
import polars
import pyarrow.parquet as pq
import pytest

from deformer.files.foreign import UnreadableFileError
from deformer.video.hands_file import HANDS_SUFFIX, HandRows, read_hands, write_hands
from tests.deformer.video.hand_rows import INFO, two_hands, write_clip


def same(one: HandRows, other: HandRows) -> bool:
    return all(
        a.size == b.size and np.all(a == b) for a, b in zip(one, other, strict=True) if b.size
    )


@pytest.mark.parametrize("chosen", [slice(None), slice(0, 0)])
def test_what_is_written_is_read(tmp_path, chosen):
    hands, path = two_hands().at(chosen), tmp_path / f"a{HANDS_SUFFIX}"
    write_hands(path, hands, INFO)
    read, info = read_hands(path)
    assert info == INFO and same(read, hands)
    assert read.joints_cam_m.shape == (len(hands.frame), 21, 3)


def test_other_programs_may_write_other_kinds_of_columns(tmp_path):
    path = write_clip(tmp_path)
    table = polars.read_parquet(path).to_arrow().replace_schema_metadata(
        pq.read_schema(path).metadata
    )  # fmt: skip
    pq.write_table(table, path)
    assert table.schema.field("box_px").type != pq.read_schema(write_clip(tmp_path, "b")).field(
        "box_px"
    )
    assert same(read_hands(path)[0], two_hands())


def test_a_lost_footer_is_named(tmp_path):
    path = write_clip(tmp_path)
    polars.read_parquet(path).write_parquet(path)
    with pytest.raises(UnreadableFileError, match="has lost its footer, .* by read_hands and"):
        read_hands(path)
    polars.read_parquet(path).drop("track").write_parquet(path)
    with pytest.raises(UnreadableFileError, match=r"holds no predicted hands \(no track\)"):
        read_hands(path)
