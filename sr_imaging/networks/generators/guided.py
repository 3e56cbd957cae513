"""Super-resolution with a second image that is fine already: a panchromatic band, another contrast."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_imaging.networks.contract import GeneratorModule
from sr_imaging.networks.contrast import CONTRAST_REACH, box_mean, differences, local_contrast, ratio
from sr_imaging.networks.layers import InterpolationSkip, ZeroMeanConv, conv, crop, shuffle, zero_conv

from .residual import residual_block

__all__ = ["Guided"]

_AROUND = 1  # LR pixel on each side of the guide's own over which its contrast is averaged
_SEEN = 1 + _AROUND  # LR pixels on each side that a feature of the guide depends on


class _GuideFeatures(nn.Module):
    """Detail of the guide on the LR grid, in units of the guide's own contrast: blind to gain and offset."""

    def __init__(self, guide_channels: int, scale: Sequence[int], each: int) -> None:
        super().__init__()
        self.scale = tuple(scale)
        size = tuple(3 * s for s in scale)
        self.weight = nn.Parameter(torch.randn(guide_channels * each, 1, *size) / prod(size) ** 0.5)

    def forward(self, guide: Tensor) -> Tensor:
        """Turn ``(B, G, *(n * scale))`` into ``(B, G * each, *(n - 2 * _SEEN))``."""
        bands, dims = guide.shape[1], len(self.scale)
        weight = self.weight - self.weight.mean(tuple(range(1, 2 + dims)), keepdim=True)
        convolve = functional.conv2d if dims == 2 else functional.conv3d
        detail = crop(convolve(guide, weight, stride=self.scale, groups=bands), _AROUND, dims)
        b, c, *n = detail.shape
        detail = detail.reshape(b * bands, c // bands, *n)
        return ratio(detail, self._measure_contrast(guide)).reshape(b, c, *n)

    def _measure_contrast(self, guide: Tensor) -> Tensor:
        """Return the contrast of each band by itself, ``(B * G, 1, *(n - 2 * _SEEN))``."""
        dims = len(self.scale)
        each = guide.reshape(-1, 1, *guide.shape[2:])
        slope = crop(differences(each), [s - 1 for s in self.scale], dims)
        pool = functional.avg_pool2d if dims == 2 else functional.avg_pool3d
        return box_mean(pool(slope, self.scale), _AROUND)


class Guided(GeneratorModule):
    """Residual network on the features of an LR image and of a guide on the HR grid, 2-D or 3-D.

    Detail of the guide is measured in the guide's local contrast and given the local contrast of the image:
    the classical high-pass modulation, with learned filters. So the network is equivariant in the image, and
    blind to gain and offset of each band of the guide: a panchromatic band in any unit, another MR contrast.
    Its residual blocks are those of SRResNet, and detail is added to the interpolated image.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``; no ``("z", "plane")``.
    guide_channels : int
        Bands of the guide.
    channels : int
        Width of the blocks.
    blocks : int
        Number of residual blocks; the halo is ``2 * blocks + 4``.

    References
    ----------
    G. Masi et al., "Pansharpening by convolutional neural networks", Remote Sensing 8, 2016 (image and guide
    through one network). J. Yang et al., "PanNet: a deep network architecture for pan-sharpening", ICCV 2017
    (high-pass input, detail added to the interpolated image). R. Schowengerdt, "Reconstruction of
    multispatial, multispectral image data using spatial frequency content", PE&RS 46, 1980 (high-pass
    modulation).
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        guide_channels: int = 1,
        channels: int = 32,
        blocks: int = 4,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        if guide_channels < 1:
            raise ValueError(f"a guide of {guide_channels} bands guides nothing; give at least 1")
        halo = (_SEEN + 2 * blocks + 2,) * len(scale)  # the features, two a block, after the blocks, last
        super().__init__(scale, halo=halo, in_channels=in_channels, axes=axes, guide_channels=guide_channels)
        dims = self.spatial_dims
        self.first = ZeroMeanConv(dims, in_channels, channels)
        self.guide = _GuideFeatures(guide_channels, self.scale, channels)
        self.fuse = nn.Sequential(
            nn.LeakyReLU(0.1), conv(dims, channels * (1 + guide_channels), channels, 1), nn.LeakyReLU(0.1)
        )
        self.blocks = nn.Sequential(
            *(residual_block(dims, channels) for _ in range(blocks)), conv(dims, channels, channels)
        )
        self.tail = zero_conv(dims, channels, in_channels * prod(scale))
        self.skip = InterpolationSkip(self.scale, halo, skip)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` with its guide, ``(B, G, (n + 2 * halo) * scale)``."""
        dims = self.spatial_dims
        contrast = crop(local_contrast(x), _SEEN - CONTRAST_REACH, dims)
        own = crop(self.first(x), _SEEN - 1, dims)
        seen = self.guide(guide) * contrast
        first = self.fuse(torch.cat([own, seen.to(own.dtype)], 1))
        deep = self.blocks(first)
        deep = deep + crop(first, (first.shape[-1] - deep.shape[-1]) // 2, dims)
        detail = shuffle(self.tail(deep), self.scale)
        out: Tensor = self.skip(x) + detail.float()
        return out
