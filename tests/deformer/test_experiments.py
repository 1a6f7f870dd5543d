import json
import math
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import get_args

import pytest

from deformer.data.augment import AugmentConfig
from deformer.data.order import OrderConfig
from deformer.data.stream import StreamConfig
from deformer.data.windows import WindowConfig
from deformer.experiments import BASES, EXPERIMENTS, STARTS, get_experiment
from deformer.hand.box import AugmentationRange
from deformer.network.config import DeformerConfig
from deformer.network.discriminator import DiscriminatorConfig
from deformer.network.fusion import FusionVariant
from deformer.train import parse
from deformer.training.experiment import (
    Experiment,
    OptimConfig,
    ValidationConfig,
    differences,
    from_dict,
)
from deformer.variants import VARIANTS

NEEDED = ["--data", "shards/here"]


def test_every_base_has_every_ablation():
    bases = [base.name for base in BASES]
    assert {"dexycb", "ho3d", "dexycb_fast", "ho3d_fast", "lite_temporal", "tiny"} <= set(bases)
    names = {f"{base}_{ablation}" for base in bases for ablation in [*VARIANTS][1:]}
    assert EXPERIMENTS.keys() == names | {*bases, *STARTS}
    assert all(get_experiment(name).name == name for name in EXPERIMENTS)
    assert len({experiment.summary for experiment in EXPERIMENTS.values()}) == len(EXPERIMENTS)


def test_every_fusion_is_a_variant():
    assert {variant.fusion for variant in VARIANTS.values()} == set(get_args(FusionVariant))


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_an_ablation_changes_what_its_table_asks_for(base):
    expected = {
        "center": {"model.fusion": "center"},
        "average": {"model.fusion": "average"},
        "occlusion": {"model.fusion": "occlusion"},
        "nearby": {"model.fusion": "nearby"},
        "pairwise": {"model.fusion": "pairwise", "model.motion": "step"},
        "noadv": {"adversarial": False},
        "mse": {"point_loss": "mse"},
        "mse_noadv": {"point_loss": "mse", "adversarial": False},
    }
    assert list(VARIANTS) == ["full", *expected]
    for ablation, changes in expected.items():
        found = differences(base, get_experiment(f"{base.name}_{ablation}"))
        assert {name: now for name, (_, now) in found.items() if name != "name"} == changes


def test_the_papers_numbers():
    for experiment in (get_experiment("dexycb"), get_experiment("ho3d")):
        optim, stream = experiment.optim, experiment.stream
        assert (optim.lr, optim.lr_discriminator, optim.epochs) == (1e-5, 1e-3, 60)
        assert (optim.decay, optim.decay_epochs) == (0.7, 10)
        assert (stream.window.num_frames, stream.window.gap, stream.size) == (7, 10, 512)
        assert stream.order.global_batch == 8
        assert experiment.point_loss == "max_mse" and experiment.adversarial
    dexycb, ho3d = get_experiment("dexycb"), get_experiment("ho3d")
    assert (dexycb.stream.split, dexycb.model.tips) == ("s0_train", "dexycb")
    assert (ho3d.stream.split, ho3d.model.tips) == ("train", "ho3d")


@pytest.mark.parametrize("base", ["dexycb", "ho3d"])
def test_a_fast_variant_differs_in_the_size_alone(base):
    found = differences(get_experiment(base), get_experiment(f"{base}_fast"))
    assert found.keys() == {"name", "stream.size"} and found["stream.size"] == (512, 256)
    assert "256² input" in get_experiment(f"{base}_fast").summary


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        (AugmentConfig, {"rotation_deg": 181}, r"augment.rotation_deg is 181, .* in \[0, 180"),
        (AugmentConfig, {"scale": 1.0}, "augment.scale is 1.0"),
        (AugmentConfig, {"contrast": float("nan")}, "augment.contrast is nan"),
        (AugmentationRange, {"shift": 1}, "shift is 1"),
        (DeformerConfig, {"backbone": "vgg"}, "backbone is 'vgg'"),
        (DeformerConfig, {"norm": "batch"}, "norm is 'batch'"),
        (DeformerConfig, {"fusion": "sum"}, "fusion is 'sum'"),
        (DeformerConfig, {"tips": "mano"}, "tips is 'mano'"),
        (DeformerConfig, {"motion": "both"}, "motion is 'both'"),
        (DeformerConfig, {"layers": 0}, "layers is 0"),
        (DeformerConfig, {"regressor": (1,)}, r"regressor is \(1,\)"),
        (DeformerConfig, {"width": 36, "heads": 8}, "width is 36"),
        (DiscriminatorConfig, {"hidden": 0}, "hidden is 0"),
        (DiscriminatorConfig, {"noise": -1.0}, "noise is -1"),
        (OrderConfig, {"mix_clips": 0}, "mix_clips is 0, must be 1 or more"),
        (OrderConfig, {"global_batch": 12}, r"global_batch is 12, must be a multiple .* \(8\)"),
        (StreamConfig, {"size": 31}, "size is 31, must be 32 or more"),
        (StreamConfig, {"input": "x"}, "stream.input is 'x', must be rgb or depth"),
        (WindowConfig, {"gap": 0}, "gap is 0"),
        (WindowConfig, {"edge": "x"}, "edge is 'x'"),
        (OptimConfig, {"lr": 0.0}, "optim.lr is 0.0, must be more than 0"),
        (OptimConfig, {"lr": float("nan")}, "optim.lr is nan"),
        (OptimConfig, {"epochs": 0}, "optim.epochs is 0, must be 1 or more"),
        (OptimConfig, {"cooldown": 1.5}, "optim.cooldown is 1.5, must be a share, 0 to 1"),
        (ValidationConfig, {"every": 0}, "validation.every is 0, must be 1 or more"),
    ],
)
def test_bad_configuration_is_named(kind, change, text):
    with pytest.raises(ValueError, match=text):
        kind(**change)


@pytest.mark.parametrize(
    ("given", "name"),
    [([], "dexycb"), (["--experiment", "tiny_mse"], "tiny_mse"), (["--experiment=lite"], "lite")],
)
def test_the_experiment_gives_the_defaults(given, name):
    options = parse([*NEEDED, *given])
    assert (options.experiment, options.config) == (name, get_experiment(name))
    assert options.run == Path("runs") / name


def test_every_part_of_an_experiment_is_an_option():
    line = (
        "--experiment tiny_average --data s3://bucket/name --out there --steps 12 --resume "
        "--optim.lr 3e-5 --optim.micro-batch 2 --stream.order.global-batch 24 "
        "--stream.split s1_train --stream.where occlusion>0.5 --stream.window.num-frames 5 "
        "--stream.augment.hue 0 --model.fusion center --model.regressor 16 8 --losses.smooth 0 "
        "--validation.split None --point-loss mse --discriminator.noise 0.2"
    )
    options = parse(line.split())
    base = get_experiment("tiny_average")
    found = {name: now for name, (_, now) in differences(base, options.config).items()}
    assert found == {
        "optim.lr": 3e-5, "stream.order.global_batch": 24,
        "stream.split": "s1_train", "stream.where": "occlusion>0.5",
        "stream.window.num_frames": 5, "stream.augment.hue": 0.0, "model.fusion": "center",
        "model.regressor": (16, 8), "losses.smooth": 0.0, "validation.split": None,
        "point_loss": "mse", "discriminator.noise": 0.2,
    }  # fmt: skip
    assert options.config.optim.micro_batch == 2  # it changes no number, so it is no difference
    assert (options.data, options.run) == ("s3://bucket/name", Path("there"))
    assert (options.steps, options.resume) == (12, True)


def test_help_lists_bases_and_then_ablations_once(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["--experiment", "help"])
    assert stop.value.code == 0
    bases, ablations = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    summaries = dict(line.split(maxsplit=1) for line in bases)
    assert summaries == {name: get_experiment(name).summary for name in summaries}
    suffixes = ["", *(line.split()[0] for line in ablations[1:])]
    names = {base + suffix for base in summaries if base not in STARTS for suffix in suffixes}
    assert names | set(STARTS) == set(EXPERIMENTS)
    assert all(len(line) < 120 for line in bases + ablations)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dexicb", r"no experiment 'dexicb' \(did you mean dexycb"),
        ("tiny_averge", r"no experiment 'tiny_averge' \(did you mean tiny_average"),
        ("???", r"no experiment '\?\?\?'; --experiment help lists them"),
    ],
)
def test_an_unknown_experiment_names_near_ones(name, text):
    with pytest.raises(ValueError, match=text):
        parse([*NEEDED, "--experiment", name])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--keep", "0"], ["--keep 0 must be 1 or more"]),
        (["--optim.lr", "-1"], ["optim.lr is -1.0, must be more than 0"]),
        (["--model.fusion", "sum"], ["--model.fusion", "'sum'", "'dynamic'"]),
        (["--model.width", "30"], ["width is 30, must be a multiple of heads (4)"]),
        (["--stream.order.global-batch", "5"], ["global_batch is 5, must be a multiple"]),
        (["--steps", "0"], ["--steps 0 must be 1 or more"]),
    ],
    ids=lambda value: value[0] if value else None,
)
def test_a_wrong_option_is_named(capsys, wrong, said):
    with pytest.raises(SystemExit) as stop:
        parse([*NEEDED, "--experiment", "tiny", *wrong])
    assert stop.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    for text in said:
        assert text in error


def test_what_it_begins_with_is_told():
    tiny = get_experiment("tiny")
    on_features = replace(tiny, features="features/tiny")
    assert on_features.begins_with == "features/tiny"
    assert tiny.begins_with is None
    assert replace(on_features, start_from="runs/other").begins_with == "runs/other"
    with pytest.raises(ValueError, match="vertex_stride is 0, must be 1 or more"):
        replace(tiny, vertex_stride=0)


def _with_extremes(config) -> Iterator:
    """The configuration with -1 or infinity in each number in turn, where it is allowed."""
    for f in fields(config):
        value = getattr(config, f.name)
        if is_dataclass(value):
            extremes = _with_extremes(value)
        else:
            extremes = [-1] if type(value) is int else [math.inf] if type(value) is float else []
        for extreme in extremes:
            try:
                yield replace(config, **{f.name: extreme})
            except ValueError:
                continue


def test_what_a_training_takes_its_checkpoint_gives_back():
    allowed = list(_with_extremes(get_experiment("tiny")))
    assert any(math.isinf(experiment.optim.clip_norm) for experiment in allowed)
    for experiment in allowed:
        stored = json.loads(json.dumps(asdict(experiment)))
        assert from_dict(stored, Experiment, "a run") == experiment
