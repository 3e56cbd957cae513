"""What deep generators share: first layer, blocks, one sub-pixel step, detail on the interpolated image."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from sr_imaging.networks.contract import GeneratorModule
from sr_imaging.networks.layers import InterpolationSkip, ZeroMeanConv, conv, crop, shuffle

__all__ = ["Residual"]


class Residual(GeneratorModule):
    """Base of the generators that are told apart by their blocks; equivariant where these are.

    Parameters
    ----------
    scale, in_channels, axes
        As in :class:`~sr_imaging.networks.Generator`.
    channels : int
        Features between the blocks.
    blocks : sequence of nn.Module
        Each maps `channels` features to as many, and shrinks its input by its reach on each side.
    reach : int
        Of all blocks together, in LR pixels; the halo is ``reach + 3``.
    skip : str
        Interpolation of the skip, a key of ``INTERPOLATIONS``.
    first_act, last_act : nn.Module, optional
        Activation after the first layer, LeakyReLU by default, and before the last, none by default.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int,
        channels: int,
        blocks: Sequence[nn.Module],
        reach: int,
        axes: Sequence[str] | None,
        skip: str,
        first_act: nn.Module | None = None,
        last_act: nn.Module | None = None,
    ) -> None:
        halo = (reach + 3,) * len(scale)  # first, the blocks, after them, last
        super().__init__(scale, halo=halo, in_channels=in_channels, axes=axes)
        dims = self.spatial_dims
        first = ZeroMeanConv(dims, in_channels, channels)
        self.first = nn.Sequential(first, first_act or nn.LeakyReLU(0.1))
        self.blocks = nn.Sequential(*blocks, conv(dims, channels, channels))
        self.last_act = last_act or nn.Identity()
        self.tail = conv(dims, channels, in_channels * prod(scale))
        nn.init.zeros_(self.tail.weight)  # training starts at the interpolated image
        self.skip = InterpolationSkip(self.scale, halo, skip)

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``."""
        first = self.first(x)
        deep = self.blocks(first)
        deep = deep + crop(first, (first.shape[-1] - deep.shape[-1]) // 2, self.spatial_dims)
        detail = shuffle(self.tail(self.last_act(deep)), self.scale)
        out: Tensor = self.skip(x) + detail.float()
        return out
