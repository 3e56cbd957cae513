"""Discriminators by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from sr_imaging.networks.building import build_named

from .patch import patch_discriminator
from .unet import UNetDiscriminator
from .whole_patch import DCGANDiscriminator, VGGDiscriminator

__all__ = ["DISCRIMINATORS", "build_discriminator"]

DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "patch": patch_discriminator,
    "vgg": VGGDiscriminator,
    "unet": UNetDiscriminator,
    "dcgan": DCGANDiscriminator,
}


def build_discriminator(
    architecture: str, arguments: Mapping[str, Any], *, size: Sequence[int], in_channels: int
) -> nn.Module:
    """Build a discriminator with fresh weights.

    Parameters
    ----------
    architecture : str
        Key of ``DISCRIMINATORS``.
    arguments : mapping
        Its keyword arguments apart from those below.
    size : sequence of int
        Sides of the HR patches, from which the number of layers follows.
    in_channels : int
        Bands of the patches.

    Returns
    -------
    nn.Module
        Maps ``(B, in_channels, *size)`` to a list of feature maps, the logits last.

    Raises
    ------
    ModelError
        If the architecture or an argument is unknown, or the patch too small.
    """
    return build_named(
        DISCRIMINATORS, "discriminator", architecture, arguments, size=tuple(size), in_channels=in_channels
    )
