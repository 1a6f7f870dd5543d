"""RoIAlign of a convolution's output, computed by sampling first.

RoIAlign and a convolution are both linear in the features. So the features are sampled where the
convolution's taps meet the RoI's samples, and convolved there: size² positions in place of the
whole map, which for the paper's 512² input are a sixteenth.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_SAMPLES = 2
"""Per cell and axis, as in RoIAlign's paper."""


def crop_convolved(features: Tensor, boxes: Tensor, size: int, conv: nn.Conv2d) -> Tensor:
    """RoIAlign of `conv(features)` with one box per image → (N, C', size, size), float32.

    features (N, C, h, w); boxes (N, 4) as x0 y0 x1 y1, in pixels of the features, whose centres are
    at integers. A box may reach beyond the map, where the result is 0. conv: k×k, k odd, same
    padding by zeros.

    Equals `torchvision.ops.roi_align` with aligned=True and sampling_ratio=2, for finite features.
    Source: He et al., "Mask R-CNN", ICCV 2017.
    """
    height, width = features.shape[-2:]
    k, (x0, y0, x1, y1) = conv.kernel_size[0], boxes.float().unbind(1)
    with torch.autocast(features.device.type, enabled=False):
        down, across = _weights(y0, y1, size, height), _weights(x0, x1, size, width)
        x = features.float().permute(0, 2, 3, 1)  # (N, h, w, C), as channels_last lies in memory
        x = _of_taps(down, k) @ x.flatten(2)  # (N, k·size, w·C)
        x = _of_taps(across, k)[:, None] @ x.unflatten(2, (width, -1))  # (N, k·size, k·size, C)
        # The bias counts as much as a cell's samples are inside the map
        inside = down.sum(-1)[:, None, :, None] * across.sum(-1)[:, None, None]
        bias = conv.bias[:, None, None] * inside
    x = x.permute(0, 3, 1, 2).to(conv.weight.dtype)
    return functional.conv2d(x, conv.weight, stride=k).float() + bias


def _weights(begin: Tensor, end: Tensor, size: int, length: int) -> Tensor:
    """Bilinear weights along one axis: how much each of `length` pixels adds to each cell of the
    boxes' sides from begin to end, (N,) → (N, size, length)."""
    num, device = size * _SAMPLES, begin.device
    shares = (torch.arange(num, device=device) + 0.5) / num
    at = begin[:, None] + shares * (end - begin)[:, None]  # (N, num)
    is_inside = (at >= -1) & (at <= length)
    away = at.clamp(0, length - 1)[..., None] - torch.arange(length, device=device)
    weights = (1 - away.abs()).clamp(min=0) * is_inside[..., None]
    return weights.unflatten(1, (size, _SAMPLES)).mean(2)


def _of_taps(weights: Tensor, k: int) -> Tensor:
    """weights (N, size, length) of a convolution's output → of its input, a row per cell and tap:
    (N, size·k, length)."""
    length, reach = weights.shape[-1], k // 2
    padded = functional.pad(weights, (reach, reach))
    taps = [padded[..., k - 1 - tap : k - 1 - tap + length] for tap in range(k)]
    return torch.stack(taps, 2).flatten(1, 2)
