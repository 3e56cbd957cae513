"""RRDB: residual-in-residual dense blocks, the generator of ESRGAN. Deep, with a wide halo."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sr_imaging.networks.layers import conv, crop

from .residual import Block, Residual

__all__ = ["RRDB"]

_DENSE = 5  # convolutions of a dense block
_CHAIN = 3  # dense blocks of a residual-in-residual block
_SHARE = 0.2  # of a residual that is added: "residual scaling", section 3.1


class _DenseBlock(nn.Module):
    """Five unpadded convolutions that each see all features before them, cropped to fit."""

    def __init__(self, dims: int, channels: int, growth: int) -> None:
        super().__init__()
        self.dims = dims
        widths = [growth] * (_DENSE - 1) + [channels]
        self.convs = nn.ModuleList(conv(dims, channels + k * growth, width) for k, width in enumerate(widths))
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Shrink ``(B, C, n)`` to ``(B, C, n - 10)``."""
        seen = x
        for layer in self.convs[:-1]:
            seen = torch.cat([crop(seen, 1, self.dims), self.act(layer(seen))], 1)
        last: Tensor = self.convs[-1](seen)
        return last * _SHARE + crop(x, _DENSE, self.dims)


class _DenseChain(Block):
    """Three dense blocks added to what they were made from."""

    def __init__(self, dims: int, channels: int, growth: int) -> None:
        chain = [_DenseBlock(dims, channels, growth) for _ in range(_CHAIN)]
        super().__init__(nn.Sequential(*chain), _DENSE * _CHAIN)

    def forward(self, x: Tensor) -> Tensor:
        """Shrink ``(B, C, n)`` to ``(B, C, n - 30)``."""
        y: Tensor = self.body(x)
        return y * _SHARE + crop(x, self.reach, x.ndim - 2)  # torch.add by a weight rounds otherwise


class RRDB(Residual):
    """Network of residual-in-residual dense blocks, 2-D or 3-D, any factor on each axis, equivariant.

    Differs from the paper in having no biases, a first layer of zero-mean kernels, one sub-pixel step for its
    nearest-neighbour up-sampling, and detail added to the interpolated image. The halo is exact: fifteen
    convolutions a block.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``.
    channels : int
        Width between the dense blocks.
    growth : int
        Features that each convolution of a dense block adds.
    blocks : int
        Number of residual-in-residual blocks; the halo is ``15 * blocks + 3``. The paper has 23, of 64
        channels and growth 32.

    References
    ----------
    X. Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCVW 2018, section
    3.1.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 32,
        growth: int = 16,
        blocks: int = 2,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        super().__init__(
            scale,
            in_channels=in_channels,
            channels=channels,
            blocks=[_DenseChain(len(scale), channels, growth) for _ in range(blocks)],
            axes=axes,
            skip=skip,
            first_act=nn.Identity(),
            last_act=nn.LeakyReLU(0.2),
        )
