import torch
from torchvision.ops import roi_align

from deformer.network.crop import crop_convolved

BOXES = torch.tensor(
    [
        [1.0, 2, 9, 7],
        [-0.5, -0.5, 13.5, 10.5],  # the whole map
        [-6.0, -3, 8, 4],  # beyond two edges
        [10.0, 8, 30, 20],  # beyond the other two
        [20.0, 20, 30, 30],  # nothing of the map
        [3.2, 3.1, 3.9, 3.6],  # within a pixel
    ]
)


def test_it_equals_roi_align_of_the_convolution_and_so_do_its_gradients():
    """On a map that is not square, with a bias, which RoIAlign does not see outside."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(5, 7, 3, padding=1)
    features = torch.randn(len(BOXES), 5, 11, 14)
    rois = torch.cat([torch.arange(len(BOXES))[:, None], BOXES + 0.5], 1)
    seen = []
    for crop in (
        lambda x: roi_align(conv(x), rois, 6, sampling_ratio=2, aligned=True),
        lambda x: crop_convolved(x, BOXES, 6, conv),
    ):
        x = features.clone().requires_grad_()
        result = crop(x)
        weight = torch.linspace(0, 1, result.numel()).view_as(result)
        loss = (result * weight).sum()
        gradients = torch.autograd.grad(loss, [x, *conv.parameters()])
        seen.append((result.detach(), *gradients))
    for expected, found in zip(*seen, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = crop_convolved(features, BOXES, 6, conv)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, seen[0][0], rtol=0.05, atol=0.05)
    assert (seen[1][0][4] == 0).all() and seen[1][0][0].std() > 0.1
