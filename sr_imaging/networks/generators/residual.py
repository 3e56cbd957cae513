"""What deep generators share: first layer, blocks, one sub-pixel step, detail on the interpolated image."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from sr_imaging.networks.contract import GeneratorModule
from sr_imaging.networks.layers import InterpolationSkip, ZeroMeanConv, conv, crop, shuffle, zero_conv

__all__ = ["Block", "Residual", "residual_block"]


class Block(nn.Module):
    """Unpadded layers, weighted and added to what they were made from, which is cropped by their `reach`."""

    def __init__(self, body: nn.Module, reach: int, weight: float = 1.0) -> None:
        super().__init__()
        self.body, self.reach, self.weight = body, reach, weight

    def forward(self, x: Tensor) -> Tensor:
        """Shrink ``(B, C, n)`` to ``(B, C, n - 2 * reach)``."""
        y: Tensor = self.body(x)
        return torch.add(crop(x, self.reach, x.ndim - 2), y, alpha=self.weight)


def residual_block(dims: int, channels: int, *, slope: float = 0.1, weight: float = 1.0) -> Block:
    """Return a block of two 3 × 3 convolutions with LeakyReLU between them, reach 2."""
    layers = conv(dims, channels, channels), nn.LeakyReLU(slope), conv(dims, channels, channels)
    return Block(nn.Sequential(*layers), 2, weight)


class Residual(GeneratorModule):
    """Base of the generators that differ in their blocks; equivariant where these are.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``.
    channels : int
        Features between the blocks.
    blocks : sequence of Block
        Each maps `channels` features to as many; the halo is the sum of their reaches, and 3.
    first_act, last_act : nn.Module, optional
        Activation after the first layer, LeakyReLU by default, and before the last, none by default.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int,
        channels: int,
        blocks: Sequence[Block],
        axes: Sequence[str] | None,
        skip: str,
        first_act: nn.Module | None = None,
        last_act: nn.Module | None = None,
    ) -> None:
        halo = (sum(block.reach for block in blocks) + 3,) * len(scale)  # first, after the blocks, last
        super().__init__(scale, halo=halo, in_channels=in_channels, axes=axes)
        dims = self.spatial_dims
        first = ZeroMeanConv(dims, in_channels, channels)
        self.first = nn.Sequential(first, first_act or nn.LeakyReLU(0.1))
        self.blocks = nn.Sequential(*blocks, conv(dims, channels, channels))
        self.last_act = last_act or nn.Identity()
        self.tail = zero_conv(dims, channels, in_channels * prod(scale))
        self.skip = InterpolationSkip(self.scale, halo, skip)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``."""
        first = self.first(x)
        deep = self.blocks(first)
        deep = deep + crop(first, (first.shape[-1] - deep.shape[-1]) // 2, self.spatial_dims)
        detail = shuffle(self.tail(self.last_act(deep)), self.scale)
        out: Tensor = self.skip(x) + detail.float()
        return out
