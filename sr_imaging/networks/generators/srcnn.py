"""SRCNN: three convolutions on the interpolated image. The first network of the field, and the plainest."""

from collections.abc import Sequence
from math import ceil

from torch import Tensor, nn

from sr_imaging.networks.contract import GeneratorModule
from sr_imaging.networks.layers import InterpolationSkip, ZeroMeanConv, conv, crop, zero_conv

__all__ = ["SRCNN"]

_REACH = 4 + 0 + 2  # HR pixels that the 9-1-5 convolutions see on each side


class SRCNN(GeneratorModule):
    """Super-resolution convolutional network, 9-1-5, 2-D or 3-D, any factor on each axis.

    Differs from the paper in what makes it equivariant: no biases, LeakyReLU for ReLU, a first layer of
    zero-mean kernels, and detail added to the interpolated image. It also interpolates by itself, by `skip`:
    it takes the LR image like any other generator here.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``.
    channels : int
        Width of the first layer; the second has half of it.

    References
    ----------
    C. Dong et al., "Learning a deep convolutional network for image super-resolution", ECCV 2014.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 64,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        inside = InterpolationSkip(scale, (0,) * len(scale), skip).interpolate.halo or ()
        halo = [own + ceil(_REACH / s) for own, s in zip(inside, scale, strict=True)]
        super().__init__(scale, halo=halo, in_channels=in_channels, axes=axes)
        dims = self.spatial_dims
        self.features = nn.Sequential(
            ZeroMeanConv(dims, in_channels, channels, 9),
            nn.LeakyReLU(0.1),
            conv(dims, channels, channels // 2, 1),
            nn.LeakyReLU(0.1),
        )
        self.tail = zero_conv(dims, channels // 2, in_channels, 5)
        self.skip = InterpolationSkip(self.scale, inside, skip)
        self.surplus = [ceil(_REACH / s) * s - _REACH for s in self.scale]

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``."""
        fine = crop(self.skip(x), self.surplus, self.spatial_dims)
        detail = self.tail(self.features(fine.to(x.dtype)))
        out: Tensor = crop(fine, _REACH, self.spatial_dims) + detail.float()
        return out
