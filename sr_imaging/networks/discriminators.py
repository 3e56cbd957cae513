"""Discriminators: networks that tell generated patches from real ones."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import ModelError

__all__ = ["DISCRIMINATORS", "build_discriminator", "patch_discriminator", "patch_layers"]

_NORMS: dict[str, Any] = {"instance": "INSTANCE", "batch": "BATCH", "none": None}
MIN_PATCH = 8  # HR pixels: below this the smallest patch discriminator has no output


def patch_layers(size: Sequence[int]) -> int:
    """Return the depth of a patch discriminator for patches of `size` HR pixels, 1 to 3.

    The deepest whose grid of verdicts still has 4 pixels on every side, so that each verdict is local.

    Raises
    ------
    ModelError
        If a side is shorter than 8 pixels.

    Examples
    --------
    >>> [patch_layers((n, n)) for n in (16, 32, 64, 256)]
    [1, 2, 3, 3]
    """
    smallest = min(size)
    if smallest < MIN_PATCH:
        raise ModelError(
            f"a patch of {tuple(size)} HR pixels is too small for a patch discriminator; "
            f"train on patches of at least {MIN_PATCH} HR pixels"
        )
    fitting = [depth for depth in (1, 2, 3) if smallest // 2**depth - 2 >= 4]
    return max(fitting, default=1)


def patch_discriminator(
    size: Sequence[int], *, in_channels: int = 1, channels: int = 32, norm: str = "instance"
) -> nn.Module:
    """Build MONAI's patch discriminator: strided 4 × 4 convolutions, a grid of local verdicts.

    Parameters
    ----------
    size : sequence of int
        Side of the HR patches it will see; its length is the number of axes.
    in_channels : int
        Bands.
    channels : int
        Width of the first layer; it doubles with each.
    norm : str
        ``instance``, ``batch`` or ``none``.

    Returns
    -------
    nn.Module
        Maps ``(B, C, *size)`` to a list of feature maps, whose last one holds the logits.

    Raises
    ------
    ModelError
        If the patch is too small or the norm unknown.

    References
    ----------
    P. Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017, 3.2.2.
    """
    from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

    if norm not in _NORMS:
        raise ModelError(f"unknown norm {norm!r} of a discriminator; use one of {', '.join(_NORMS)}")
    return PatchDiscriminator(
        spatial_dims=len(size),
        channels=channels,
        in_channels=in_channels,
        num_layers_d=patch_layers(size),
        norm=_NORMS[norm],
        bias=norm == "none",
    )


DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {
    "patch": patch_discriminator,
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
        Side of the HR patches, from which the number of layers follows.
    in_channels : int
        Bands.

    Returns
    -------
    nn.Module
        Returns a list of feature maps, the logits last.

    Raises
    ------
    ModelError
        If the architecture or an argument is unknown, or the patch too small.
    """
    if architecture not in DISCRIMINATORS:
        raise ModelError(f"unknown discriminator {architecture!r}; use one of {', '.join(DISCRIMINATORS)}")
    make = DISCRIMINATORS[architecture]
    known = [name for name in inspect.signature(make).parameters if name not in ("size", "in_channels")]
    for key in arguments:
        if key not in known:
            raise ModelError(f"discriminator {architecture!r} takes no {key!r}; it takes {', '.join(known)}")
    return make(size, in_channels=in_channels, **arguments)
