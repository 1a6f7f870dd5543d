import json
import logging
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pytest

from deformer.data.augment import NO_AUGMENTATION, AugmentConfig
from deformer.data.batch import Batch
from deformer.data.index import WindowTable, read_index
from deformer.data.order import OrderConfig
from deformer.data.store import open_store
from deformer.data.stream import Stream, StreamConfig
from deformer.data.windows import WindowConfig
from deformer.files.sealed import write_json
from tests.deformer.data.conftest import labelled_clip
from tests.pipelines.handmade import build_dataset

TRAIN = StreamConfig(size=32, window=WindowConfig(3, 2), order=OrderConfig(8, mix_clips=3), seed=1)
EVALUATION = TRAIN.for_evaluation("s0_train")
STEPS = 5
"""Of an epoch: 34 windows, so the last batch has 6 of padding."""


def open_stream(folder: Path, config: StreamConfig = TRAIN, *args, **kwargs) -> Stream:
    return Stream(config, *open_store(folder), *args, **kwargs)


def bytes_of(batch: Batch) -> list[bytes]:
    """All fields, to the last bit, NaNs included; a window a line."""
    fields = [field.numpy() for field in batch[:-1]]
    return [b"".join(field[k].tobytes() for field in fields) for k in range(len(fields[0]))]


def global_batches(
    folder: Path, config: StreamConfig, num_ranks: int = 1, workers: int = 0, epochs: int = 1
) -> list[list[bytes]]:
    """The windows of each step over all ranks, which take equally many steps."""
    streams = [
        open_stream(folder, config, rank=rank, num_ranks=num_ranks, workers=workers)
        for rank in range(num_ranks)
    ]
    steps = epochs * streams[0].steps_per_epoch
    by_rank = [[bytes_of(batch) for batch in stream.batches(0, steps)] for stream in streams]
    assert {len(batches) for batches in by_rank} == {steps}
    return [[*chain(*parts)] for parts in zip(*by_rank, strict=True)]


@pytest.fixture(scope="module")
def alone(dataset) -> dict[StreamConfig, list[list[bytes]]]:
    """Two epochs of one process without workers, for training and evaluation."""
    return {config: global_batches(dataset, config, epochs=2) for config in (TRAIN, EVALUATION)}


@pytest.mark.parametrize("config", [TRAIN, EVALUATION], ids=["training", "evaluation"])
def test_every_window_comes_once_per_epoch(dataset, config):
    stream = open_stream(dataset, config)
    batches = list(stream.batches(first_step=2 * STEPS))  # to the end of the third epoch
    assert len(batches) == stream.steps_per_epoch == STEPS
    assert {len(batch.images) for batch in batches} == {8}
    rows = np.concatenate([batch.rows[~batch.is_padding, 1] for batch in batches])
    assert sorted(rows.tolist()) == sorted(stream.windows.centre_rows.tolist()) and len(rows) == 34


@pytest.mark.parametrize("config", [TRAIN, EVALUATION], ids=["training", "evaluation"])
@pytest.mark.parametrize("num_ranks", [2, 4, 8])
def test_steps_are_the_same_for_any_number_of_ranks(dataset, alone, config, num_ranks):
    assert global_batches(dataset, config, num_ranks, epochs=2) == alone[config]


@pytest.mark.parametrize(("num_ranks", "workers"), [(1, 2), (2, 1)])
def test_steps_are_the_same_for_any_number_of_workers(dataset, alone, num_ranks, workers):
    assert global_batches(dataset, TRAIN, num_ranks, workers, epochs=2) == alone[TRAIN]


def test_epochs_and_seeds_differ_in_order_and_augmentation(dataset, alone):
    other = global_batches(dataset, replace(TRAIN, seed=2))
    epochs = alone[TRAIN][:STEPS], alone[TRAIN][STEPS:], other
    for one, another in combinations([set(chain(*epoch)) for epoch in epochs], 2):
        assert not one & another


def test_evaluation_is_in_the_order_of_the_index_without_augmentation(dataset):
    stream = open_stream(dataset, replace(EVALUATION, order=OrderConfig(8, 1, shuffle=False)))
    batches = list(stream.batches())
    rows = np.concatenate([batch.rows[~batch.is_padding].numpy() for batch in batches])
    assert rows.tolist() == stream.windows.rows.tolist()
    assert all((batch.photometric == batch.photometric.new_tensor([1, 1, 1, 0, 0])).all()
               for batch in batches)  # fmt: skip


def test_for_evaluation_keeps_what_shapes_the_images_alone():
    config = replace(TRAIN, where="frame > 1", limit=3)
    evaluation = config.for_evaluation("s0_test", limit=9)
    assert (evaluation.split, evaluation.where, evaluation.limit) == ("s0_test", None, 9)
    assert evaluation.augment == NO_AUGMENTATION and not evaluation.order.shuffle
    assert (evaluation.size, evaluation.window) == (config.size, config.window)


@pytest.mark.parametrize("limit", [1, 5, 8])
def test_fewer_windows_than_a_batch_fill_one(dataset, limit):
    stream = open_stream(dataset, replace(TRAIN, limit=limit))
    (batch,) = stream.batches()
    assert (~batch.is_padding).sum() == limit
    assert len(set(batch.rows[:, 1].tolist())) == limit


def test_windows_may_be_given_instead_of_chosen(dataset):
    chosen = open_stream(dataset, EVALUATION).windows
    given = WindowTable(chosen.rows[[5, 3, 30]], chosen.centre)
    (batch,) = open_stream(dataset, EVALUATION, windows=given).batches()
    assert batch.rows[~batch.is_padding].tolist() == given.rows.tolist()


def test_resuming_at_any_step_gives_the_same_batches(dataset):
    stream = open_stream(dataset)
    whole = [bytes_of(batch) for batch in stream.batches(0, 3 * STEPS)]
    for step in np.random.default_rng(0).choice(3 * STEPS, 3, replace=False).tolist():
        resumed = open_stream(dataset)  # in the first, second or third epoch
        resumed.check_state(json.loads(json.dumps(stream.state(step))))
        batches = [bytes_of(batch) for batch in resumed.batches(step, 3 * STEPS)]
        assert batches == whole[step:]


@pytest.mark.parametrize(
    "other",
    [
        {"limit": 33},
        {"seed": 2},
        {"window": WindowConfig(3, 1)},
        {"order": OrderConfig(16, mix_clips=3)},
        {"order": OrderConfig(8, mix_clips=4)},
    ],
    ids=str,
)
def test_the_state_of_another_stream_is_refused(dataset, other):
    state = open_stream(dataset).state(12)
    with pytest.raises(ValueError, match=r"step 12 is of another stream \(34 windows, here \d+\)"):
        open_stream(dataset, replace(TRAIN, **other)).check_state(state)


def change_info(folder: Path, part: str, key: str | int, value: dict) -> None:
    """One entry in a part of `dataset.json`."""
    info = json.loads((folder / "dataset.json").read_text())
    info[part][key] = value
    write_json(folder / "dataset.json", info)


def test_the_state_of_another_dataset_is_refused(own_dataset):
    stream = open_stream(own_dataset)
    shard = stream.index.info["shards"][0]
    change_info(own_dataset, "shards", 0, shard | {"sha256": "0" * 64})
    with pytest.raises(ValueError, match="is of another stream"):
        open_stream(own_dataset).check_state(stream.state(0))


def test_ranks_that_do_not_divide_the_streams_are_refused_before_the_first_step(dataset):
    with pytest.raises(ValueError, match="3 processes do not divide the 8 canonical streams"):
        open_stream(dataset, TRAIN, num_ranks=3)


def test_augmentation_that_the_crops_cannot_serve_is_refused(own_dataset):
    change_info(own_dataset, "parameters", "augmentation", {"scale": 0.1, "shift": 0.05})
    with pytest.raises(ValueError, match=r"augment.scale is 0.2, but .* serve 0.1 at most"):
        open_stream(own_dataset)
    with pytest.raises(ValueError, match=r"augment.shift is 0.1, .* --augmentation.shift 0.1"):
        open_stream(own_dataset, replace(TRAIN, augment=AugmentConfig(scale=0.1)))
    open_stream(own_dataset, replace(TRAIN, augment=AugmentConfig(scale=0.1, shift=0.05)))
    open_stream(own_dataset, EVALUATION)


def corrupt(folder: Path, row: int, member: str = "") -> None:
    """Flip bytes in the middle of a frame's JPEG, or of its clip's labels."""
    index = read_index(folder)
    offset, size = (int(index.numbers[f"{member}{name}"][row]) for name in ("offset", "size"))
    with (folder / index.shards[index.shard[row]]).open("r+b") as file:
        file.seek(offset + size // 2)
        data = file.read(8)
        file.seek(offset + size // 2)
        file.write(bytes(255 - byte for byte in data))


@pytest.mark.parametrize(
    ("config", "num_ranks", "workers"),
    [(TRAIN, 4, 0), (EVALUATION, 1, 1)],
    ids=["train", "evaluate"],
)
def test_windows_of_a_corrupt_image_are_replaced_by_padding(
    own_dataset, config, num_ranks, workers, caplog
):
    row = 12  # of clip-02, so it stands in several windows
    corrupt(own_dataset, row)
    streams = [
        open_stream(own_dataset, config, rank=rank, num_ranks=num_ranks, workers=workers)
        for rank in range(num_ranks)
    ]
    windows = streams[0].windows.rows
    whole = windows[~(windows == row).any(1)]
    assert 0 < len(whole) < len(windows)
    with caplog.at_level(logging.WARNING, "deformer"):
        batches = [list(stream.batches(0, 2 * STEPS)) for stream in streams]
    for epoch in range(2):
        of_epoch = [b for part in batches for b in part[epoch * STEPS : (epoch + 1) * STEPS]]
        assert {len(batch.images) for batch in of_epoch} == {8 // num_ranks}
        rows = np.concatenate([batch.rows.numpy() for batch in of_epoch])
        is_padding = np.concatenate([batch.is_padding.numpy() for batch in of_epoch])
        assert not (rows == row).any()
        assert sorted(rows[~is_padding].tolist()) == sorted(whole.tolist())
    names = [name for stream in streams for name in stream.skipped]
    assert names and all(name.startswith("clip-02.000001.jpg: ") for name in names)
    # once by each rank that met it, though it was met many times
    assert len(caplog.messages) == len(names) == sum(len(s.skipped) for s in streams)
    assert all(len(stream.skipped) <= 1 for stream in streams)
    assert "corrupt, windows that need it are left out: clip-02.000001.jpg" in caplog.messages[0]


@pytest.mark.parametrize("max_skipped", [100, 1])
def test_a_clip_of_corrupt_labels_is_left_out_as_one_member(own_dataset, max_skipped):
    corrupt(own_dataset, 0, "labels_")
    stream = open_stream(own_dataset, replace(EVALUATION, max_skipped=max_skipped))
    rows = np.concatenate([batch.rows[~batch.is_padding].numpy() for batch in stream.batches()])
    assert len(rows) == 34 - 4 and rows.min() >= 5
    assert [name.split(":")[0] for name in stream.skipped] == ["clip-00.labels.npz"]


def test_more_corrupt_members_than_allowed_are_an_error_naming_one(own_dataset):
    for row in (6, 12, 20):
        corrupt(own_dataset, row)
    with pytest.raises(ValueError, match=r"max_skipped = 2; .* is clip-\d+.\d+.jpg.*verify"):
        list(open_stream(own_dataset, replace(TRAIN, max_skipped=2)).batches())
    stream = open_stream(own_dataset, replace(TRAIN, max_skipped=3))
    assert len(list(stream.batches())) == STEPS and len(stream.skipped) == 3
    with pytest.raises(ValueError, match=r"corrupt, such as clip-\d+.\d+.jpg.*verify"):
        list(open_stream(own_dataset, replace(TRAIN, max_skipped=0)).batches())


def test_a_dataset_without_a_whole_window_is_an_error(own_dataset):
    for row in (0, 5, 11, 18, 23, 29):  # a row of each clip of the split
        corrupt(own_dataset, row, "labels_")
    with pytest.raises(ValueError, match=r"are corrupt, such as clip-\d+.labels.npz"):
        list(open_stream(own_dataset).batches())


def test_an_image_that_does_not_decode_is_corrupt_though_it_is_what_was_written(tmp_path):
    clip = labelled_clip("clip", seed=0, num_frames=4)
    clip.images[3] = b"\xff\xd8\xff\xe0 this is no JPEG"
    folder = build_dataset(tmp_path / "dataset", [[clip]])
    stream = open_stream(folder, replace(EVALUATION, window=WindowConfig(1, 1)))
    rows = np.concatenate([batch.rows[~batch.is_padding].numpy() for batch in stream.batches()])
    assert sorted(rows[:, 0].tolist()) == [0, 1, 2]
    assert [name.split(":")[0] for name in stream.skipped] == ["clip.000003.jpg"]
