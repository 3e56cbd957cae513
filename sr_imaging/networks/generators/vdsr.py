"""VDSR: a deep residual network on the interpolated image; one model for every real factor in its range."""

from collections.abc import Sequence
from math import isfinite

from torch import Tensor, nn

from sr_imaging.errors import ModelError
from sr_imaging.image.pixels.kernels import LARGEST
from sr_imaging.networks.contract import GeneratorModule
from sr_imaging.networks.layers import ZeroMeanConv, conv, crop, zero_conv

__all__ = ["VDSR"]


class VDSR(GeneratorModule):
    """Very deep super-resolution network, 2-D or 3-D, for any real factor in a range of each axis.

    It takes the image already on the HR grid and adds what is missing, so its own `scale` is all ones. The
    image it expects, in training and inference alike: LR interpolated with Keys' cubic (``"cubic"``) at the
    pixel centres of :func:`sr_imaging.image.grid.refinement.refine` (first outer edge kept, spacing divided
    by the exact factor, ``round(n * factor)`` pixels, border replicated), with ``halo`` HR pixels of context.

    Differs from the paper in what makes it equivariant: no biases, LeakyReLU for ReLU, and a first layer of
    zero-mean kernels.

    Parameters
    ----------
    scale_range : tuple of (float, float)
        Lowest and highest factor of each axis, 1 to 1000; ``(1, 1)`` for an axis that is not refined.
    in_channels, axes
        As in ``SRResNet``.
    channels : int
        Width of the hidden layers.
    depth : int
        Number of convolutions, >= 2; the halo in HR pixels.

    References
    ----------
    J. Kim et al., "Accurate image super-resolution using very deep convolutional networks", CVPR 2016.
    """

    def __init__(
        self,
        scale_range: Sequence[tuple[float, float]],
        *,
        in_channels: int = 1,
        channels: int = 64,
        depth: int = 20,
        axes: Sequence[str] | None = None,
    ) -> None:
        span = _check_range(scale_range)
        if depth < 2:
            raise ModelError(f"depth must be 2 convolutions or more, got {depth}; give for example 20")
        dims = len(span)
        super().__init__(
            [1] * dims, halo=[depth] * dims, in_channels=in_channels, axes=axes, scale_range=span
        )
        layers: list[nn.Module] = [ZeroMeanConv(dims, in_channels, channels), nn.LeakyReLU(0.1)]
        for _ in range(depth - 2):
            layers += [conv(dims, channels, channels), nn.LeakyReLU(0.1)]
        self.features = nn.Sequential(*layers)
        self.tail = zero_conv(dims, channels, in_channels)
        self.depth = depth

    def forward(self, x: Tensor) -> Tensor:
        """Add detail to the interpolated image: ``(B, C, n + 2 * halo)`` to ``(B, C, n)``, HR pixels."""
        detail = self.tail(self.features(x))
        out: Tensor = crop(x, self.depth, self.spatial_dims) + detail.float()
        return out


def _check_range(scale_range: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the range as pairs of floats; raise `ModelError` where it is not one, or refines nothing."""
    span = tuple((float(low), float(high)) for low, high in scale_range)
    if not all(isfinite(high) and 1 <= low <= high <= LARGEST for low, high in span):
        raise ModelError(f"scale_range {span} is not a range; give (lowest, highest) factors, 1 to {LARGEST}")
    if all(high == 1 for _, high in span):
        raise ModelError(f"scale_range {span} refines nothing; give one axis a factor above 1")
    return span
