"""Features at the level of maps: what the backbone sees, for spatial halves to be trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deformer import experiments
from deformer.encode import Options, make_features
from deformer.network.output import Maps
from deformer.training.checkpoint import load_checkpoint
from deformer.training.features import open_features, unpack
from tests.deformer.small_runs import VERY_SMALL, changed, run
from tests.deformer.training.test_features import SPATIAL_RUN, evaluate

SINGLES = changed(
    "stream",
    replace(SPATIAL_RUN, name="very_small_maps", backbone_weights="none"),
    window=replace(VERY_SMALL.stream.window, num_frames=1),
)


@pytest.fixture(autouse=True, scope="module")
def singles_have_a_name():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiments.EXPERIMENTS, SINGLES.name, SINGLES)
        yield


@pytest.fixture(scope="module")
def spatial_run(tmp_path_factory, dataset):
    out = tmp_path_factory.mktemp("spatial") / "run"
    assert run(dataset, out, SPATIAL_RUN, steps=2) == 0
    return out


def encode(checkpoint, dataset, out, **more):
    given = {"splits": ("s0_test",), "copies": 2, "device": "cpu", "which": "last"} | more
    make_features(Options(checkpoint, dataset, SINGLES.name, out, **given), torch.device("cpu"))
    return out


@pytest.fixture(scope="module")
def maps(tmp_path_factory, dataset, spatial_run, singles_have_a_name):
    out = tmp_path_factory.mktemp("features") / "maps"
    return encode(spatial_run, dataset, out, level="maps")


@pytest.fixture(scope="module")
def run_on_maps(tmp_path_factory, dataset, maps):
    out = tmp_path_factory.mktemp("run") / "run"
    assert run(dataset, out, replace(SINGLES, features=str(maps))) == 0
    return out


def test_they_are_small_pictures_in_half_precision(maps):
    features = open_features(maps)
    frames = features.read("s0_train", 1)
    size, width = SINGLES.model.roi_size, SINGLES.model.width
    assert frames["maps"].shape[1:] == (width, size, size)
    assert frames["maps"].dtype == np.float16 and "hand" not in frames
    packed = torch.from_numpy(frames["maps"][:2])[:, None]
    assert isinstance(unpack(packed), Maps) and unpack(packed).maps.dtype == torch.float32
    assert {name.partition(".")[0] for name in features.spatial()} == {"backbone"}


def test_training_changes_all_but_the_backbone(run_on_maps, spatial_run):
    before, after = (load_checkpoint(r).tensors["model"] for r in (spatial_run, run_on_maps))
    same = {name for name, value in after.items() if torch.equal(value, before[name])}
    assert {name for name in after if name.startswith("backbone.")} <= same
    assert not any(name.startswith("spatial_encoder.") for name in same)


def test_evaluation_on_maps_is_that_on_images(run_on_maps, dataset, maps, tmp_path):
    one = evaluate(dataset, run_on_maps, tmp_path / "images")
    other = evaluate(dataset, run_on_maps, tmp_path / "maps", maps)
    assert (one["row"] == other["row"]).all() and len(one["row"])
    np.testing.assert_allclose(one["joints_m"], other["joints_m"], atol=1e-4)  # half precision


def test_maps_are_encoded_as_images_are(run_on_maps, dataset, maps, tmp_path):
    by_maps = open_features(encode(run_on_maps, dataset, tmp_path / "one", features=maps))
    direct = open_features(encode(run_on_maps, dataset, tmp_path / "other"))
    assert by_maps.info["copies"] == direct.info["copies"] == {"s0_train": 2}
    assert by_maps.info["spatial_sha256"] == direct.info["spatial_sha256"]
    for split, copy in (("s0_train", 1), ("s0_test", None)):
        one, other = by_maps.read(split, copy), direct.read(split, copy)
        assert one.keys() == other.keys() and (one["rows"] == other["rows"]).all()
        np.testing.assert_allclose(one["hand"], other["hand"], atol=2e-2)
        np.testing.assert_allclose(one["joints_2d"], other["joints_2d"], atol=1e-3)


def test_what_does_not_belong_together_is_refused(dataset, spatial_run, maps, whole, tmp_path):
    with pytest.raises(ValueError, match="holds maps already: leave --level away"):
        Options(spatial_run, dataset, SINGLES.name, tmp_path, features=maps, level="maps")
    with pytest.raises(ValueError, match="by another backbone than "):
        encode(whole, dataset, tmp_path / "out", features=maps)
    frames = encode(spatial_run, dataset, tmp_path / "frames")
    with pytest.raises(ValueError, match="frames holds no maps: encode them by --level maps"):
        encode(spatial_run, dataset, tmp_path / "out", features=frames)
