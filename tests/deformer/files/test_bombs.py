"""Small files that would unpack to gigabytes are refused before they are read."""

import io

import numpy as np
import pyarrow as pa
import pytest

from deformer.data.dataset import read_member, read_table
from deformer.files.foreign import UnreadableFileError
from deformer.files.tables import check_unpacked
from deformer.files.wellformed import read_json_object, read_npz, shown
from tests.faults.crafted import shared_lists
from tests.faults.wholes import HOSTILE_NPZ, hostile_parquet, no_text, npz, parquet_of


@pytest.mark.parametrize("case", ["bomb", "one member often"])
def test_an_npz_that_unpacks_to_more_than_is_allowed(case):
    with pytest.raises(ValueError, match="unpacked it takes 1,36"):
        read_npz(HOSTILE_NPZ[case])


def test_an_npz_may_unpack_to_what_its_reader_allows():
    packed = io.BytesIO()
    np.savez_compressed(packed, a=np.zeros(1000), b=np.zeros(10_000))
    data = packed.getvalue()
    assert read_npz(data, ("a",), 9000)["a"].shape == (1000,)
    with pytest.raises(ValueError, match="unpacked it takes 8,128 bytes, 8,000 are allowed"):
        read_npz(data, ("a",), 8000)
    assert len(read_npz(npz(a=np.zeros(1000)), ("a",), 8000)["a"]) == 1000  # it is not packed


def test_a_table_that_unpacks_to_far_more_than_its_size(tmp_path):
    path = tmp_path / "frames.parquet"
    path.write_bytes(hostile_parquet()["repeated rows"])
    with pytest.raises(
        UnreadableFileError, match=r"frames\.parquet: .*would unpack to 294,912,000"
    ):
        read_table(path)
    check_unpacked(pa.py_buffer(hostile_parquet()["repeated vectors"]))


def test_a_table_of_text_that_is_no_text(tmp_path):
    path = tmp_path / "predictions.parquet"
    path.write_bytes(parquet_of(pa.table({"clip": no_text(2)})))
    for as_codes in ((), ("clip",)):
        with pytest.raises(UnreadableFileError, match=r"predictions\.parquet: .*Invalid UTF8"):
            read_table(path, as_codes=as_codes)


def test_an_index_that_names_more_bytes_than_a_tar_has(tmp_path):
    (tmp_path / "a.tar").write_bytes(bytes(100))
    with (tmp_path / "a.tar").open("rb") as file:
        for offset, size in ((0, 2**31 - 1), (-1, 10), (2**62, 1), (50, 51), (0, -1)):
            with pytest.raises(ValueError, match="are not those that were written"):
                read_member(file, offset, size, 0)


def test_a_number_of_more_than_64_bits_is_no_number_of_a_json_file():
    with pytest.raises(ValueError, match="more than 64 bits"):
        read_json_object(b'{"a": 9223372036854775808}')
    assert read_json_object(b'{"a": 9223372036854775807}') == {"a": 2**63 - 1}


def test_a_message_shows_little_of_a_value():
    assert len(shown(shared_lists(60))) <= 80
    assert shown(10**5000) == "a int"
