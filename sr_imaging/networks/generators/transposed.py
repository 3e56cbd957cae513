"""Encoder of strided and decoder of transposed convolutions, with batch norm and tanh, as DCGAN has them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sr_imaging.networks.contract import GeneratorModule, replicate
from sr_imaging.networks.interpolation import Interpolation
from sr_imaging.networks.layers import BATCH_NORMS, CONVS, TRANSPOSED_CONVS

__all__ = ["Transposed"]

_STD = 0.02  # of fresh weights, section 3 of the paper


class Transposed(GeneratorModule):
    """Strided convolutions down, transposed ones up to LR and on to HR; any whole factor on each axis.

    Strides make the result depend on where a tile begins, so it has no halo and runs in blended windows.
    Batch norm and tanh know one range of values, so it is not equivariant. Differs from the paper, whose
    generator starts from noise, in its encoder, and in adding what tanh makes to the interpolated image.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``.
    channels : int
        Width at LR; it doubles with each stride of 2.
    levels : int
        Strides of 2; a side of the image must be a multiple of ``2 ** levels`` LR pixels.
    fixed_values : (float, float)
        Offset and unit of the values: it works on ``(x - offset) / unit``, which should lie within -1 and 1.
        Detail is at most one unit.

    References
    ----------
    A. Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial
    networks", ICLR 2016, section 3.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 32,
        levels: int = 2,
        fixed_values: Sequence[float] = (0.0, 1.0),
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        offset, unit = map(float, fixed_values)
        if levels < 1 or not unit > 0:
            raise ValueError(f"levels {levels} and unit {unit:g} must be above 0")
        super().__init__(
            scale,
            halo=None,
            in_channels=in_channels,
            axes=axes,
            fixed_values=(offset, unit),
            multiple=2**levels,
        )
        dims = self.spatial_dims
        widths = [in_channels, *(channels * 2**k for k in range(levels))]
        down = [_halve_sides(dims, widths[k], widths[k + 1], norm=k > 0) for k in range(levels)]
        up = [_double_sides(dims, widths[k], max(widths[k - 1], channels)) for k in range(levels, 0, -1)]
        self.body = nn.Sequential(*down, *up)
        self.tail = _refine_sides(dims, channels, in_channels, self.scale)
        self.apply(_draw_weights)
        nn.init.zeros_(self.tail.weight)  # training starts at the interpolated image
        self.interpolate = Interpolation(skip, self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n)`` to ``(B, C, n * scale)``; each n a multiple of `multiple`."""
        detail = torch.tanh(self.tail(self.body(x)))
        halo = self.interpolate.halo or ()
        with torch.autocast(x.device.type, enabled=False):
            base: Tensor = self.interpolate(replicate(x.float(), [(h, h) for h in halo]))
        return base + detail.float()


def _halve_sides(dims: int, before: int, after: int, *, norm: bool) -> nn.Module:
    """Return a layer that halves each side; without norm on the image itself, as in the paper."""
    layer = CONVS[dims](before, after, 4, stride=2, padding=1, bias=not norm)
    return nn.Sequential(layer, *([BATCH_NORMS[dims](after)] if norm else []), nn.LeakyReLU(0.2))


def _double_sides(dims: int, before: int, after: int) -> nn.Module:
    """Return a layer that doubles each side."""
    layer = TRANSPOSED_CONVS[dims](before, after, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(layer, BATCH_NORMS[dims](after), nn.LeakyReLU(0.2))


def _refine_sides(
    dims: int, before: int, after: int, scale: Sequence[int]
) -> nn.ConvTranspose2d | nn.ConvTranspose3d:
    """Multiply each side by its factor: kernels of about twice the stride, so that all phases overlap."""
    stride: Any = tuple(scale)
    padding: Any = tuple((s + 1) // 2 for s in scale)
    kernel: Any = tuple(s + 2 * p for s, p in zip(scale, padding, strict=True))
    return TRANSPOSED_CONVS[dims](before, after, kernel, stride=stride, padding=padding, bias=False)


def _draw_weights(module: nn.Module) -> None:
    """Draw the paper's fresh weights."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.normal_(module.weight, 0.0, _STD)
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
        nn.init.normal_(module.weight, 1.0, _STD)
