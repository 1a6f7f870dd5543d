import numpy as np
import pytest
import webdataset

from deformer.data.store import ClipReader, open_store
from deformer.data.wds import clips
from deformer.files.images import decode_jpeg


def test_clips_are_those_that_the_stream_reads(dataset):
    store, index = open_store(dataset)
    reader, seen = ClipReader(store, index, 9), []
    for clip in clips(f"{dataset}/{{000000..000002}}.tar"):
        number = index.clips.index(clip.meta.key)
        seen.append(number)
        rows = np.arange(*index.clip_bounds[number : number + 2])
        assert len(clip.images) == clip.meta.num_frames == len(rows)
        for row, image in zip(rows, clip.images, strict=True):
            if index.numbers["valid"][row]:
                np.testing.assert_array_equal(image, decode_jpeg(reader.image(row)))
        for name, values in reader.labels(number).items():
            np.testing.assert_array_equal(clip.labels[name], values)
        assert len(clip.labels["mask_hand"]) == len(rows)
    assert seen == list(range(9))
    shuffled = [c.meta.key for c in clips([f"{dataset}/000001.tar"]).shuffle(9)]
    assert sorted(shuffled) == ["clip-10", "clip-11", "clip-12"]


def test_a_damaged_clip_is_an_error_unless_it_is_skipped(own_dataset):
    tar = own_dataset / "000000.tar"
    tar.write_bytes(tar.read_bytes().replace(b'"schema_version": 1', b'"schema_version": 9', 1))
    with pytest.raises(ValueError, match="schema version 9"):
        list(clips(str(tar)))
    with pytest.warns(UserWarning, match="schema version 9"):
        kept = list(clips(str(tar), handler=webdataset.warn_and_continue))
    assert [clip.meta.key for clip in kept] == ["clip-01", "clip-02"]
