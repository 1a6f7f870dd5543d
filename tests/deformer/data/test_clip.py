import contextlib
import io

import numpy as np
import pytest

from deformer.data import clip, index_rows


def labels(n: int = 3) -> dict:
    rng = np.random.default_rng(0)
    return {
        "frame": np.arange(n, dtype=np.int32),
        "is_halo": np.zeros(n, bool),
        "valid": np.array([True] * (n - 1) + [False]),
        "reason": np.array([""] * (n - 1) + ["no_hand"]),
        "joints_in_image": np.full(n, 21, np.int8),
        "crop_xywh": np.ones((n, 4), np.int32),
        "occlusion": np.array([0.25] * (n - 1) + [np.nan], np.float32),
        "joints_px": rng.normal(size=(n, 21, 2)).astype(np.float32),
        "betas": np.full((n, 10), np.nan, np.float32),
        "mask_hand": [b"abc", b"", b"\x00\xff"],
    }


META = clip.ClipMeta(
    key="a-1", dataset="dexycb", subject="s", sequence="q", camera="c", side="left", object="o",
    splits={"s0": "train"}, num_frames=3, image_size=(640, 480), hand="standin", tips="dexycb",
)  # fmt: skip


def test_labels_round_trip():
    data = clip.encode_labels(labels(), 3)
    assert data == clip.encode_labels(labels(), 3)
    back = clip.decode_labels(data)
    for name, value in labels().items():
        if name == "betas":
            assert name not in back  # null throughout the clip
        else:
            np.testing.assert_array_equal(back[name], value)


def test_some_of_the_labels():
    data = clip.encode_labels(labels(), 3)
    some = clip.decode_labels(data, ["joints_px", "betas"])
    assert sorted(some) == ["frame", "joints_px"]  # no betas are known
    np.testing.assert_array_equal(some["joints_px"], labels()["joints_px"])
    with pytest.raises(ValueError, match="valid of the labels is absent"):
        clip.decode_labels(npz_with(valid=None), ["valid"])


def test_meta_round_trip_and_schema_version():
    data = clip.encode_meta(META)
    assert clip.decode_meta(data) == META
    with pytest.raises(ValueError, match="schema version 99"):
        clip.decode_meta(data.replace(b'"schema_version": 1', b'"schema_version": 99'))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": np.zeros(3)}, "joints"),
        ({"betas": np.zeros((3, 9), np.float32)}, r"betas .* of shape \(3, 9\), must be .*10\)"),
        ({"frame": np.zeros(2, np.int32)}, r"frame .* of shape \(2,\), must be .* \(3,\)"),
        ({"valid": None}, "valid of the labels is absent"),
    ],
)
def test_wrong_labels_are_named(change, message):
    changed = {name: value for name, value in (labels() | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        clip.encode_labels(changed, 3)


def npz_with(**changes) -> bytes:
    """Labels as `encode_labels` writes them, with arrays changed, or left out where None."""
    with np.load(io.BytesIO(clip.encode_labels(labels(), 3))) as npz:
        arrays = {**npz, **changes}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in arrays.items() if value is not None})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": np.zeros(3)}, r"joints .* is float64 of shape \(3,\), must be absent"),
        ({"joints_px": np.zeros((2, 21, 2), np.float32)}, r"joints_px .* float32 of shape \(2, 21"),
        ({"joints_px": np.zeros((3, 21, 2))}, "joints_px of the labels is float64"),
        ({"reason": np.zeros(3, np.int32)}, "reason of the labels is int32 .*, must be <U32"),
        ({"mask_hand": np.zeros((2, 3), np.uint8)}, r"mask_hand .* of shape \(2, 3\), must be"),
        ({"mask_hand_offsets": np.zeros(3, np.int32)}, r"mask_hand_offsets .* must be .* \(4,\)"),
        ({"mask_hand_offsets": np.int32([0, 3, 2, 5])}, "do not rise from 0 to the 5 bytes"),
        ({"mask_hand": None}, "mask_hand_offsets of the labels is .* must be absent"),
        ({"frame": np.array([1, "a", None], object)}, "not a whole npz"),
    ],
)
def test_malformed_labels_are_value_errors(change, message):
    with pytest.raises(ValueError, match=message):
        clip.decode_labels(npz_with(**change))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"key"', b'"kex"', "names lacking or unknown: kex, key"),
        (b'"num_frames": 3', b'"num_frames": "3"', "num_frames is '3'"),
        (b"480", b"480, 3", r"image_size is \[640, 480, 3\]"),
        (b'"schema_version"', b'"scheme_version"', "has schema version None"),
        (b"{", b"", "this is not JSON"),
    ],
)
def test_malformed_meta_is_a_value_error(old, new, message):
    with pytest.raises(ValueError, match=message):
        clip.decode_meta(clip.encode_meta(META).replace(old, new, 1))


@pytest.mark.parametrize(
    ("data", "decode"),
    [
        (clip.encode_labels(labels(), 3), clip.decode_labels),
        (clip.encode_meta(META), clip.decode_meta),
    ],
    ids=["labels", "meta"],
)
def test_changed_bytes_are_a_value_error_or_nothing(data, decode):
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= int(rng.integers(1, 256))
        with contextlib.suppress(ValueError):
            decode(bytes(damaged))


def test_rows_hold_null_for_nan_and_lead_to_the_bytes():
    located = [index_rows.Locator(512, 100, 7), None, index_rows.Locator(1024, 50, 8)]
    at = index_rows.Locator(2048, 500, 9)
    decoded = clip.decode_labels(clip.encode_labels(labels(), 3))
    frames, annotations = index_rows.clip_rows(META, decoded, "000000.tar", located, at)
    assert frames.schema == index_rows.FRAMES_SCHEMA
    assert annotations.schema == index_rows.ANNOTATIONS_SCHEMA
    row = frames.to_pylist()
    assert [r["offset"] for r in row] == [512, None, 1024]
    assert [r["labels_offset"] for r in row] == [2048] * 3
    assert [r["occlusion"] for r in row] == [0.25, 0.25, None]
    assert [r["s0"] for r in row] == ["train"] * 3
    assert [r["s1"] for r in row] == [None] * 3
    assert [r["clip_index"] for r in row] == [0, 1, 2]
    wide = annotations.to_pylist()
    assert [r["mask_hand"] for r in wide] == [b"abc", None, b"\x00\xff"]
    assert wide[0]["betas"] is None
    assert np.allclose(np.reshape(wide[1]["joints_px"], (21, 2)), labels()["joints_px"][1])


def test_every_column_says_what_it_means():
    for schema in (index_rows.FRAMES_SCHEMA, index_rows.ANNOTATIONS_SCHEMA):
        assert schema.metadata[b"deformer.schema_version"] == b"1"
        assert all(column.metadata[b"meaning"] for column in schema)
