"""Unconditional generators: noise to image patches, with no image to start from.

They are not super-resolution networks and have a registry of their own, ``UNCONDITIONAL``.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from sr_imaging.errors import ModelError
from sr_imaging.networks.building import build_named
from sr_imaging.networks.discriminators.layers import check_patch, halved, steps
from sr_imaging.networks.layers import BATCH_NORMS, TRANSPOSED_CONVS

__all__ = ["DCGAN", "UNCONDITIONAL", "build_unconditional"]

DEPTH = 4  # doublings in the paper


class DCGAN(nn.Module):
    """Noise to patch: a projection to a small grid, then transposed convolutions that double it.

    Differs from the paper in that the number of doublings, four there, follows from the patch, whose sides
    may be of any length; in kernels of 4 instead of 5 pixels, which give every pixel alike; and in a range of
    ``bound`` instead of 1, since patches have unit variance and are not squeezed into -1 to 1.

    Parameters
    ----------
    size : sequence of int
        Sides of the patches, 2 or 3 of them, each at least 8.
    out_channels : int
        Bands of the patches.
    latent : int
        Length of the noise vector.
    channels : int
        Width of the last hidden layer, 128 in the paper; it doubles with each layer before.
    bound : float
        Largest absolute value of a pixel, in standard deviations of a patch: ``bound * tanh(x / bound)``.

    References
    ----------
    A. Radford et al., "Unsupervised representation learning with deep convolutional generative adversarial
    networks", ICLR 2016, figure 1 and section 3.
    """

    def __init__(
        self,
        size: Sequence[int],
        *,
        out_channels: int = 1,
        latent: int = 100,
        channels: int = 32,
        bound: float = 5.0,
    ) -> None:
        super().__init__()
        check_patch("dcgan", size)
        if latent < 1 or bound <= 0:
            raise ModelError(
                f"latent {latent} and bound {bound:g} must be above 0; give for example 100 and 5"
            )
        dims = len(size)
        grids = halved(size, DEPTH)[::-1]
        widths = [channels * 2**level for level in reversed(range(len(grids) - 1))]
        self.size, self.latent, self.bound = tuple(size), latent, bound
        self.start = (widths[0], *grids[0])
        self.project = nn.Linear(latent, prod(self.start), bias=False)
        layers: list[nn.Module] = [BATCH_NORMS[dims](widths[0]), nn.ReLU()]
        for (narrow, wide), (before, after) in zip(pairwise(widths), pairwise(grids[:-1]), strict=True):
            layers += [_grow_grid(narrow, wide, before, after), BATCH_NORMS[dims](wide), nn.ReLU()]
        layers.append(_grow_grid(widths[-1], out_channels, grids[-2], grids[-1]))
        self.layers = nn.Sequential(*layers)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d | nn.ConvTranspose3d):
                nn.init.normal_(layer.weight, std=0.02)  # section 4 of the paper

    def forward(self, noise: Tensor) -> Tensor:
        """Return patches ``(B, out_channels, *size)`` for standard normal noise ``(B, latent)``."""
        x = self.layers(self.project(noise).reshape(-1, *self.start))
        out: Tensor = self.bound * torch.tanh(x / self.bound)
        return out


def _grow_grid(in_channels: int, out_channels: int, before: Sequence[int], after: Sequence[int]) -> nn.Module:
    """Return the transposed convolution from one grid to the next."""
    stride = steps(before, after)
    module: nn.Module = TRANSPOSED_CONVS[len(stride)](
        in_channels,
        out_channels,
        tuple(4 if s == 2 else 3 for s in stride),  # type: ignore[arg-type]
        stride=stride,  # type: ignore[arg-type]
        padding=1,
        output_padding=tuple(a - b * s for a, b, s in zip(after, before, stride, strict=True)),  # type: ignore[arg-type]
        bias=False,  # patches have zero mean
    )
    return module


UNCONDITIONAL: dict[str, Callable[..., nn.Module]] = {"dcgan": DCGAN}


def build_unconditional(
    architecture: str, arguments: Mapping[str, Any], *, size: Sequence[int], out_channels: int
) -> nn.Module:
    """Build an unconditional generator with fresh weights.

    Parameters
    ----------
    architecture : str
        Key of ``UNCONDITIONAL``.
    arguments : mapping
        Its keyword arguments apart from those below.
    size : sequence of int
        Sides of the patches it makes.
    out_channels : int
        Their bands.

    Returns
    -------
    nn.Module
        Maps ``(B, latent)`` to ``(B, out_channels, *size)``; its attribute ``latent`` says how much noise.

    Raises
    ------
    ModelError
        If the architecture or an argument is unknown or impossible, or the patch too small.
    """
    kind = "unconditional generator"
    return build_named(
        UNCONDITIONAL, kind, architecture, arguments, size=tuple(size), out_channels=out_channels
    )
