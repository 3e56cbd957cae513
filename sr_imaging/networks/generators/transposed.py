"""Encoder of strided and decoder of transposed convolutions, with batch norm and tanh, as DCGAN has them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sr_imaging.networks.contract import GeneratorModule, replicate
from sr_imaging.networks.interpolation import Interpolation

__all__ = ["Transposed"]

_STD = 0.02  # of fresh weights, section 3 of the paper


class Transposed(GeneratorModule):
    """Strided convolutions down, transposed ones up to LR and on to HR; any whole factor on each axis.

    Strides make the result depend on where a tile begins, so it has no halo and runs in blended windows.
    Batch norm and tanh know one range of values, so it is not equivariant. Differs from the paper, whose
    generator starts from noise, in its encoder, and in adding what tanh makes to the interpolated image.

    Parameters
    ----------
    scale : tuple of int
        Fine pixels per coarse pixel of each axis; its length is the number of axes.
    in_channels : int
        Bands that are super-resolved together; 1 serves any number of bands, one at a time.
    channels : int
        Width at LR; it doubles with each stride of 2.
    levels : int
        Strides of 2; a side of the image must be a multiple of ``2 ** levels`` LR pixels.
    fixed_values : (float, float)
        Offset and unit of the values: it works on ``(x - offset) / unit``, which should lie within -1 and 1.
        Detail is at most one unit.
    axes : tuple of str, optional
        As in :class:`~sr_imaging.networks.Generator`.
    skip : str
        Interpolation of the skip, a key of ``INTERPOLATIONS``.

    Raises
    ------
    ValueError
        If there is no level, or the unit is not above 0.

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
        down = [_down(dims, widths[k], widths[k + 1], norm=k > 0) for k in range(levels)]
        up = [_up(dims, widths[k], max(widths[k - 1], channels)) for k in range(levels, 0, -1)]
        self.body = nn.Sequential(*down, *up)
        self.tail = _last(dims, channels, in_channels, self.scale)
        self.apply(_fresh)
        nn.init.zeros_(self.tail.weight)  # training starts at the interpolated image
        self.interpolate = Interpolation(skip, self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n)`` to ``(B, C, n * scale)``; each n a multiple of `multiple`."""
        detail = torch.tanh(self.tail(self.body(x)))
        halo = self.interpolate.halo or ()
        with torch.autocast(x.device.type, enabled=False):
            base: Tensor = self.interpolate(replicate(x.float(), [(h, h) for h in halo]))
        return base + detail.float()


def _down(dims: int, before: int, after: int, *, norm: bool) -> nn.Module:
    """Halve each side; no norm on the image itself, as in the paper."""
    make: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dims == 2 else nn.Conv3d
    layers: list[nn.Module] = [make(before, after, 4, stride=2, padding=1, bias=not norm)]
    return nn.Sequential(*layers, *([_norm(dims, after)] if norm else []), nn.LeakyReLU(0.2))


def _up(dims: int, before: int, after: int) -> nn.Module:
    """Double each side."""
    make: type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]
    make = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
    layer = make(before, after, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(layer, _norm(dims, after), nn.LeakyReLU(0.2))


def _last(
    dims: int, before: int, after: int, scale: Sequence[int]
) -> nn.ConvTranspose2d | nn.ConvTranspose3d:
    """Multiply each side by its factor: kernels of about twice the stride, so that all phases overlap."""
    make: type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]
    make = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
    padding = tuple((s + 1) // 2 for s in scale)
    kernel = tuple(s + 2 * p for s, p in zip(scale, padding, strict=True))
    return make(before, after, kernel, stride=tuple(scale), padding=padding, bias=False)  # type: ignore[arg-type]


def _norm(dims: int, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if dims == 2 else nn.BatchNorm3d(channels)


def _fresh(module: nn.Module) -> None:
    """Draw the paper's fresh weights."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.normal_(module.weight, 0.0, _STD)
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
        nn.init.normal_(module.weight, 1.0, _STD)
