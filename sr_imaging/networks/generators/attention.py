"""Large-kernel attention: each feature is weighted by what lies around it, within a finite reach."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sr_imaging.networks.contrast import box_mean, precise, ratio
from sr_imaging.networks.layers import conv, crop

from .residual import Block, Residual

__all__ = ["Attention"]

_DILATION = 3  # of the second depth-wise convolution, as in the paper


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
            conv(dims, channels, channels, near, groups=channels),
            conv(dims, channels, channels, taps, dilation=_DILATION, groups=channels),
            conv(dims, channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shrink ``(B, C, n)`` to ``(B, C, n - 2 * reach)``."""
        answer = self.kernel(x)
        magnitude = box_mean(precise(x).abs().mean(1, keepdim=True), self.reach)
        gate = torch.sigmoid(ratio(precise(answer), magnitude))
        return crop(x, self.reach, self.dims) * gate.to(x.dtype)


def _make_attention_block(dims: int, channels: int, taps: int) -> Block:
    """Return a convolution and attention, added to what they were made from."""
    attention = _LargeKernelAttention(dims, channels, taps)
    layers = conv(dims, channels, channels), nn.LeakyReLU(0.1), attention, conv(dims, channels, channels, 1)
    return Block(nn.Sequential(*layers), attention.reach + 1)


class Attention(Residual):
    """Residual network with large-kernel attention, 2-D or 3-D, any factor on each axis, equivariant.

    Differs from the paper in its gate (bounded, and measured in the features' own magnitude), in having no
    batch normalisation, no biases and no strides, and in adding detail to the interpolated image. No pooling
    over the image, so the halo is finite and exact.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``.
    channels : int
        Width of the blocks.
    blocks : int
        Number of blocks; the halo is ``blocks * (3 + 3 * (taps // 2)) + 3``.
    taps : int
        Side of the dilated kernel, odd: attention reaches ``2 + 3 * (taps // 2)`` pixels. The paper has 7.

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
            raise ValueError(f"taps {taps} is even; give an odd side, which has a middle")
        made = [_make_attention_block(len(scale), channels, taps) for _ in range(blocks)]
        super().__init__(scale, in_channels=in_channels, channels=channels, blocks=made, axes=axes, skip=skip)
