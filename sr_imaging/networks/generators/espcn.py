"""ESPCN: convolutions at low resolution, then a sub-pixel shuffle. The fastest learned generator here."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from sr_imaging.networks.contract import GeneratorModule
from sr_imaging.networks.layers import InterpolationSkip, ZeroMeanConv, conv, shuffle, zero_conv

__all__ = ["ESPCN"]


class ESPCN(GeneratorModule):
    """Efficient sub-pixel convolutional network, 2-D or 3-D, any factor on each axis.

    Differs from the paper in what makes it equivariant: no biases, LeakyReLU for tanh, a first layer of
    zero-mean kernels, and detail added to the interpolated image.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``.
    channels : int
        Width of the first layer; the second has half of it.

    References
    ----------
    W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network", CVPR 2016.
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
        halo = (4,) * len(scale)  # 5-3-3 convolutions: 2 + 1 + 1
        super().__init__(scale, halo=halo, in_channels=in_channels, axes=axes)
        dims = self.spatial_dims
        self.features = nn.Sequential(
            ZeroMeanConv(dims, in_channels, channels, 5),
            nn.LeakyReLU(0.1),
            conv(dims, channels, channels // 2),
            nn.LeakyReLU(0.1),
        )
        self.tail = zero_conv(dims, channels // 2, in_channels * prod(scale))
        self.skip = InterpolationSkip(self.scale, halo, skip)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``."""
        detail = shuffle(self.tail(self.features(x)), self.scale)
        out: Tensor = self.skip(x) + detail.float()
        return out
