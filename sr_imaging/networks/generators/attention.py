"""Large-kernel attention: each feature is weighted by what lies around it, within a finite reach."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sr_imaging.networks.contrast import box_mean, precise, ratio
from sr_imaging.networks.layers import conv, crop

from .residual import Residual

__all__ = ["Attention"]

_DILATION = 3  # of the second depth-wise convolution, as in the paper


def _depthwise(dims: int, channels: int, size: int, dilation: int = 1) -> nn.Conv2d | nn.Conv3d:
    """Return an unpadded convolution of each channel by itself, without bias."""
    make: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if dims == 2 else nn.Conv3d
    return make(channels, channels, size, dilation=dilation, groups=channels, bias=False)


class _LargeKernelAttention(nn.Module):
    """Features times a gate that a large kernel makes of them.

    The kernel is the paper's: a depth-wise, a dilated depth-wise and a 1 × 1 convolution (eq. 3). Its product
    with the features would be of second degree in them. So the kernel's answer is divided by the mean
    magnitude of all features that it saw, which makes the gate the same for ``a * x`` as for ``x``, and a
    sigmoid bounds it.
    """

    def __init__(self, dims: int, channels: int, taps: int) -> None:
        super().__init__()
        self.dims = dims
        near = 2 * _DILATION - 1
        self.reach = near // 2 + _DILATION * (taps // 2)
        self.kernel = nn.Sequential(
            _depthwise(dims, channels, near),
            _depthwise(dims, channels, taps, _DILATION),
            conv(dims, channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shrink ``(B, C, n)`` to ``(B, C, n - 2 * reach)``."""
        answer = self.kernel(x)
        magnitude = box_mean(precise(x).abs().mean(1, keepdim=True), self.reach)
        gate = torch.sigmoid(ratio(precise(answer), magnitude))
        return crop(x, self.reach, self.dims) * gate.to(x.dtype)


class _Block(nn.Module):
    """A convolution and attention, added to what they were made from."""

    def __init__(self, dims: int, channels: int, taps: int) -> None:
        super().__init__()
        self.dims = dims
        attention = _LargeKernelAttention(dims, channels, taps)
        self.reach = attention.reach + 1
        self.body = nn.Sequential(
            conv(dims, channels, channels), nn.LeakyReLU(0.1), attention, conv(dims, channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shrink ``(B, C, n)`` to ``(B, C, n - 2 * reach)``."""
        y: Tensor = self.body(x)
        return y + crop(x, self.reach, self.dims)


class Attention(Residual):
    """Residual network with large-kernel attention, 2-D or 3-D, any factor on each axis, equivariant.

    Differs from the paper in its gate (bounded, and measured in the features' own magnitude), in having no
    batch normalisation, no biases and no strides, and in adding detail to the interpolated image. No pooling
    over the image, so the halo is finite and exact.

    Parameters
    ----------
    scale : tuple of int
        Fine pixels per coarse pixel of each axis; its length is the number of axes.
    in_channels : int
        Bands that are super-resolved together; 1 serves any number of bands, one at a time.
    channels : int
        Width of the blocks.
    blocks : int
        Number of blocks; the halo is ``blocks * (3 + 3 * (taps // 2)) + 3``.
    taps : int
        Side of the dilated kernel, odd: attention reaches ``2 + 3 * (taps // 2)`` pixels. The paper has 7.
    axes : tuple of str, optional
        As in :class:`~sr_imaging.networks.Generator`.
    skip : str
        Interpolation of the skip, a key of ``INTERPOLATIONS``.

    Raises
    ------
    ValueError
        If `taps` is even.

    References
    ----------
    M. Guo et al., "Visual attention network", Computational Visual Media 9, 2023, section 3.2. C. Wan et al.,
    "Swift parameter-free attention network for efficient super-resolution", CVPRW 2024 (attention without
    pooling in super-resolution).
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 32,
        blocks: int = 3,
        taps: int = 5,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        if taps % 2 == 0:
            raise ValueError(f"taps {taps} is even; a kernel with a middle has an odd side")
        super().__init__(
            scale,
            in_channels=in_channels,
            channels=channels,
            blocks=[_Block(len(scale), channels, taps) for _ in range(blocks)],
            reach=blocks * (3 + _DILATION * (taps // 2)),
            axes=axes,
            skip=skip,
        )
