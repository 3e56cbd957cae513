"""A discriminator with a verdict for each of many overlapping parts of a patch."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from .layers import check_patch

__all__ = ["patch_discriminator", "patch_layers"]

_NORMS: dict[str, Any] = {"instance": "INSTANCE", "batch": "BATCH", "none": None, "spectral": None}


def patch_layers(size: Sequence[int]) -> int:
    """Return the depth of a patch discriminator for patches of `size` HR pixels, 1 to 3.

    It is the deepest whose grid of verdicts still has 4 pixels on every side, so that each verdict is local.

    >>> [patch_layers((n, n)) for n in (16, 32, 64, 256)]
    [1, 2, 3, 3]
    """
    fitting = [depth for depth in (1, 2, 3) if min(size) // 2**depth - 2 >= 4]
    return max(fitting, default=1)


def patch_discriminator(
    size: Sequence[int], *, in_channels: int = 1, channels: int = 32, norm: str = "instance"
) -> nn.Module:
    """Build MONAI's patch discriminator: strided 4 × 4 convolutions, a grid of local verdicts.

    Parameters
    ----------
    size, in_channels, norm
        As in ``VGGDiscriminator``.
    channels : int
        Width of the first layer; it doubles with each.

    References
    ----------
    P. Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017, 3.2.2.
    """
    from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

    check_patch("patch", size, norm)
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
