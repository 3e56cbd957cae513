"""SRResNet, the architecture of the bundled models, and EDSR: residual blocks at low resolution."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from .contract import GeneratorModule
from .layers import InterpolationSkip, ZeroMeanConv, conv, crop, shuffle

__all__ = ["EDSR", "SRResNet"]


class _Block(nn.Module):
    """Two unpadded convolutions, weighted, added to what they were made from, cropped to fit."""

    def __init__(self, dims: int, channels: int, slope: float, weight: float) -> None:
        super().__init__()
        self.dims, self.weight = dims, weight
        self.body = nn.Sequential(
            conv(dims, channels, channels), nn.LeakyReLU(slope), conv(dims, channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shrink ``(B, C, n)`` to ``(B, C, n - 4)``."""
        y: Tensor = self.body(x)
        return torch.add(crop(x, 2, self.dims), y, alpha=self.weight)


class _Residual(GeneratorModule):
    """What both have: a first layer, blocks, one sub-pixel step, detail added to the interpolated image."""

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int,
        channels: int,
        blocks: int,
        axes: Sequence[str] | None,
        skip: str,
        slope: float,
        weight: float,
    ) -> None:
        halo = (2 * blocks + 3,) * len(scale)  # first, two a block, after the blocks, last
        super().__init__(scale, halo=halo, in_channels=in_channels, axes=axes)
        dims = self.spatial_dims
        self.first = nn.Sequential(ZeroMeanConv(dims, in_channels, channels), nn.LeakyReLU(0.1))
        self.blocks = nn.Sequential(
            *(_Block(dims, channels, slope, weight) for _ in range(blocks)), conv(dims, channels, channels)
        )
        self.tail = conv(dims, channels, in_channels * prod(scale))
        nn.init.zeros_(self.tail.weight)  # training starts at the interpolated image
        self.skip = InterpolationSkip(self.scale, halo, skip)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``."""
        first = self.first(x)
        deep = self.blocks(first)
        deep = deep + crop(first, (first.shape[-1] - deep.shape[-1]) // 2, self.spatial_dims)
        detail = shuffle(self.tail(deep), self.scale)
        out: Tensor = self.skip(x) + detail.float()
        return out


class SRResNet(_Residual):
    """Residual network, 2-D or 3-D, any factor on each axis, equivariant by construction.

    Differs from the paper in having no batch normalisation and no biases, LeakyReLU for PReLU, a first layer
    of 3 × 3 zero-mean kernels, one sub-pixel step, and detail added to the interpolated image.

    Parameters
    ----------
    scale : tuple of int
        Fine pixels per coarse pixel of each axis; its length is the number of axes.
    in_channels : int
        Bands that are super-resolved together; 1 serves any number of bands, one at a time.
    channels : int
        Width of the blocks.
    blocks : int
        Number of residual blocks; the halo is ``2 * blocks + 3``.
    axes : tuple of str, optional
        As in :class:`~sr_imaging.networks.Generator`.
    skip : str
        Interpolation of the skip, a key of ``INTERPOLATIONS``.

    References
    ----------
    C. Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network",
    CVPR 2017, section 2.1.1. B. Lim et al., "Enhanced deep residual networks for single image
    super-resolution", CVPRW 2017 (no batch normalisation).
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 32,
        blocks: int = 4,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        super().__init__(
            scale,
            in_channels=in_channels,
            channels=channels,
            blocks=blocks,
            axes=axes,
            skip=skip,
            slope=0.1,
            weight=1.0,
        )


class EDSR(_Residual):
    """Enhanced deep residual network, 2-D or 3-D, any factor on each axis, equivariant by construction.

    Wider than :class:`SRResNet`, with ReLU in its blocks and their residues weighted by 0.1, which keeps wide
    blocks stable. Differs from the paper in having no biases, a first layer of zero-mean kernels and
    LeakyReLU, one sub-pixel step, and detail added to the interpolated image.

    Parameters
    ----------
    scale : tuple of int
        Fine pixels per coarse pixel of each axis; its length is the number of axes.
    in_channels : int
        Bands that are super-resolved together; 1 serves any number of bands, one at a time.
    channels : int
        Width of the blocks; 256 in the paper's largest.
    blocks : int
        Number of residual blocks, 32 in the paper's largest; the halo is ``2 * blocks + 3``.
    axes : tuple of str, optional
        As in :class:`~sr_imaging.networks.Generator`.
    skip : str
        Interpolation of the skip, a key of ``INTERPOLATIONS``.

    References
    ----------
    B. Lim et al., "Enhanced deep residual networks for single image super-resolution", CVPRW 2017.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 128,
        blocks: int = 16,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        super().__init__(
            scale,
            in_channels=in_channels,
            channels=channels,
            blocks=blocks,
            axes=axes,
            skip=skip,
            slope=0.0,
            weight=0.1,
        )
