"""Layers that keep the two laws of a generator: no padding, and ``f(a * x + b) = a * f(x) + b``."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from .interpolation import Interpolation

__all__ = [
    "BATCH_NORMS",
    "CONVS",
    "TRANSPOSED_CONVS",
    "InterpolationSkip",
    "ZeroMeanConv",
    "conv",
    "crop",
    "shuffle",
    "unshuffle",
    "zero_conv",
]

# by the number of spatial axes
CONVS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONVS: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
BATCH_NORMS: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def conv(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d | nn.Conv3d:
    """Return an unpadded convolution, by default without bias."""
    make: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    return make(in_channels, out_channels, kernel_size, dilation=dilation, groups=groups, bias=bias)


def zero_conv(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3
) -> nn.Conv2d | nn.Conv3d:
    """Return an unpadded convolution of weights 0: training starts at the interpolated image."""
    made = conv(spatial_dims, in_channels, out_channels, kernel_size)
    nn.init.zeros_(made.weight)
    return made


class ZeroMeanConv(nn.Module):
    """An unpadded convolution whose kernels have zero mean in every band: blind to a constant added."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        template = conv(spatial_dims, in_channels, out_channels, kernel_size)
        self.weight = nn.Parameter(template.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the kernels less their mean."""
        axes = tuple(range(2, self.weight.ndim))
        weight = self.weight - self.weight.mean(axes, keepdim=True)
        return nn.functional.conv2d(x, weight) if x.ndim == 4 else nn.functional.conv3d(x, weight)


def shuffle(x: Tensor, scale: Sequence[int]) -> Tensor:
    """Rearrange ``(B, C * prod(scale), *n)`` to ``(B, C, *(n * scale))``, any factor on any axis.

    References
    ----------
    W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network", CVPR 2016, eq. 4.
    """
    dims = len(scale)
    size = x.shape[2:]
    channels = x.shape[1] // prod(scale)
    x = x.reshape(x.shape[0], channels, *scale, *size)
    order = [0, 1] + [axis for k in range(dims) for axis in (2 + dims + k, 2 + k)]
    return x.permute(order).reshape(x.shape[0], channels, *(n * s for n, s in zip(size, scale, strict=True)))


def unshuffle(x: Tensor, scale: Sequence[int]) -> Tensor:
    """Rearrange ``(B, C, *(n * scale))`` to ``(B, C * prod(scale), *n)``: undo :func:`shuffle`."""
    dims = len(scale)
    size = [n // s for n, s in zip(x.shape[2:], scale, strict=True)]
    parts = [number for pair in zip(size, scale, strict=True) for number in pair]
    x = x.reshape(*x.shape[:2], *parts)
    order = [0, 1, *(3 + 2 * k for k in range(dims)), *(2 + 2 * k for k in range(dims))]
    return x.permute(order).reshape(x.shape[0], x.shape[1] * prod(scale), *size)


def crop(x: Tensor, width: int | Sequence[int], spatial_dims: int) -> Tensor:
    """Cut `width` pixels from each side of the last `spatial_dims` axes."""
    widths = [width] * spatial_dims if isinstance(width, int) else width
    for k, w in enumerate(widths):
        dim = x.ndim - spatial_dims + k
        x = x.narrow(dim, w, x.shape[dim] - 2 * w)
    return x


class InterpolationSkip(nn.Module):
    """The interpolated image that a network of this scale and halo adds its detail to, always in float32.

    What the interpolation, a key of ``INTERPOLATIONS``, does not need of the halo is cut off.
    """

    def __init__(self, scale: Sequence[int], halo: Sequence[int], method: str = "cubic") -> None:
        super().__init__()
        self.interpolate = Interpolation(method, scale)
        own = self.interpolate.halo or (0,) * len(scale)
        self.surplus = tuple(h - needed for h, needed in zip(halo, own, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Interpolate ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``, whatever precision is in force."""
        with torch.autocast(x.device.type, enabled=False):
            y: Tensor = self.interpolate(crop(x.float(), self.surplus, len(self.surplus)))
            return y
