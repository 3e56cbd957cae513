"""Discriminators with one verdict for a whole patch: strided convolutions and a fully connected head."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sr_imaging.errors import ModelError

from .layers import SLOPE, brick, check_patch, halved, steps

__all__ = ["DCGANDiscriminator", "VGGDiscriminator"]

DEPTH = 4  # halvings in both papers


class _WholePatch(nn.Module):
    """Features layer by layer, then the head; bound to the size it was built for."""

    def __init__(self, size: Sequence[int], layers: Sequence[nn.Module], head: Sequence[nn.Module]) -> None:
        super().__init__()
        self.size = tuple(size)
        self.layers = nn.ModuleList(layers)
        self.head = nn.ModuleList(head)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps of ``(B, C, *size)``, the logits ``(B, 1)`` last."""
        if tuple(x.shape[2:]) != self.size:
            raise ModelError(
                f"this discriminator judges patches of {self.size} HR pixels, not {tuple(x.shape[2:])}; "
                "build one for that size"
            )
        out = []
        for layer in self.layers:
            x = layer(x)
            out.append(x)
        x = x.flatten(1)
        for layer in self.head:
            x = layer(x)
            out.append(x)
        return out


def _make_linear(in_features: int, out_features: int, norm: str) -> nn.Module:
    """Return a fully connected layer, spectrally normalised where the convolutions are."""
    layer = nn.Linear(in_features, out_features)
    return spectral_norm(layer) if norm == "spectral" else layer


class VGGDiscriminator(_WholePatch):
    """The discriminator of SRGAN: pairs of convolutions, the second of each strided, and two dense layers.

    Differs from the paper in kernels of 4 instead of 3 pixels where it halves, which meet every pixel equally
    often, and in that the number of halvings, four there, follows from the patch: a side is halved while 4
    pixels are left of it.

    Parameters
    ----------
    size : sequence of int
        Sides of the HR patches it will see, 2 or 3 of them, each at least 8 pixels.
    in_channels : int
        Bands of the patches.
    channels : int
        Width of the first pair, 64 in the paper; it doubles with each, and the dense layer has 16 times it.
    norm : str
        ``none``, ``batch`` (the paper's), ``instance`` or ``spectral`` (of every layer with weights).

    Raises
    ------
    ModelError
        If the patch is too small or the norm unknown.

    References
    ----------
    C. Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network",
    CVPR 2017, figure 4.
    """

    def __init__(
        self, size: Sequence[int], *, in_channels: int = 1, channels: int = 32, norm: str = "batch"
    ) -> None:
        check_patch("vgg", size, norm)
        grids = halved(size, DEPTH)
        ones = (1,) * len(size)
        layers, width = [], in_channels
        for level, (before, after) in enumerate(pairwise(grids)):
            wide = channels * 2**level
            bare = "none" if level == 0 and norm != "spectral" else norm  # no norm on the image itself
            layers += [
                brick(width, wide, norm=bare, stride=ones),
                brick(wide, wide, norm=norm, stride=steps(before, after), kernel=4),
            ]
            width = wide
        hidden = nn.Sequential(
            _make_linear(width * prod(grids[-1]), 16 * channels, norm), nn.LeakyReLU(SLOPE)
        )
        super().__init__(size, layers, [hidden, _make_linear(16 * channels, 1, norm)])


class DCGANDiscriminator(_WholePatch):
    """The discriminator of DCGAN: strided 4 × 4 convolutions, flattened into one logit.

    Differs from the paper in kernels of 4 instead of 5 pixels, which meet every pixel equally often, and in
    the number of halvings, which follows from the patch as in :class:`VGGDiscriminator`.

    Parameters
    ----------
    size, in_channels, norm
        As in :class:`VGGDiscriminator`.
    channels : int
        Width of the first layer, 64 to 128 in the paper; it doubles with each.

    References
    ----------
    A. Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial
    networks", ICLR 2016, section 3.
    """

    def __init__(
        self, size: Sequence[int], *, in_channels: int = 1, channels: int = 32, norm: str = "batch"
    ) -> None:
        check_patch("dcgan", size, norm)
        grids = halved(size, DEPTH)
        layers, width = [], in_channels
        for level, (before, after) in enumerate(pairwise(grids)):
            bare = "none" if level == 0 and norm != "spectral" else norm
            wide = channels * 2**level
            layers.append(brick(width, wide, norm=bare, stride=steps(before, after), kernel=4))
            width = wide
        super().__init__(size, layers, [_make_linear(width * prod(grids[-1]), 1, norm)])
