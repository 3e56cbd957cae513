"""Discriminators: networks that tell generated patches from real ones.

``DISCRIMINATORS`` is the list one can read; :func:`build_discriminator` makes one by name.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from .layers import check_norm, check_patch

__all__ = ["patch_discriminator", "patch_layers"]

_NORMS: dict[str, Any] = {"instance": "INSTANCE", "batch": "BATCH", "none": None, "spectral": None}


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
    check_patch("patch", size)
    fitting = [depth for depth in (1, 2, 3) if min(size) // 2**depth - 2 >= 4]
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
        ``none``, ``batch``, ``instance`` or ``spectral`` (of every convolution).

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

    check_norm(norm)
    network = PatchDiscriminator(
        spatial_dims=len(size),
        channels=channels,
        in_channels=in_channels,
        num_layers_d=patch_layers(size),
        norm=_NORMS[norm],
        bias=norm in ("none", "spectral"),
    )
    if norm == "spectral":
        for layer in [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]:
            spectral_norm(layer)
    made: nn.Module = network
    return made
