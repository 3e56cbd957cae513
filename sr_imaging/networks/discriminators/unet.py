"""A discriminator with a verdict for every pixel: a U-Net."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from sr_imaging.networks.layers import CONVS

from .layers import brick, check_patch, halved, steps

__all__ = ["UNetDiscriminator"]

DEPTH = 3  # halvings in the paper
_LINEAR = {2: "bilinear", 3: "trilinear"}


class UNetDiscriminator(nn.Module):
    """The discriminator of Real-ESRGAN: down by strided convolutions, up by interpolation, skips added.

    Differs from the paper in that a side is halved, up to three times, only while 4 pixels are left of it.
    The first and the last convolution have no norm, as there.

    Parameters
    ----------
    size, in_channels, norm
        As in ``VGGDiscriminator``; it takes larger patches too, and the paper's norm is ``spectral``.
    channels : int
        Width of the first layer, 64 in the paper; it doubles with each halving.

    References
    ----------
    X. Wang et al., "Real-ESRGAN: training real-world blind super-resolution with pure synthetic data", ICCVW
    2021, section 3.4. T. Miyato et al., "Spectral normalization for generative adversarial networks", ICLR
    2018.
    """

    def __init__(
        self, size: Sequence[int], *, in_channels: int = 1, channels: int = 32, norm: str = "spectral"
    ) -> None:
        super().__init__()
        check_patch("unet", size, norm)
        dims, ones = len(size), (1,) * len(size)
        grids = halved(size, DEPTH)
        widths = [channels * 2**level for level in range(len(grids))]
        self.mode = _LINEAR[dims]
        self.first = brick(in_channels, channels, norm="none", stride=ones)
        self.down = nn.ModuleList(
            brick(widths[k], widths[k + 1], norm=norm, stride=steps(grids[k], grids[k + 1]), kernel=4)
            for k in range(len(grids) - 1)
        )
        self.up = nn.ModuleList(
            brick(widths[k + 1], widths[k], norm=norm, stride=ones) for k in reversed(range(len(grids) - 1))
        )
        self.mend = nn.ModuleList(brick(channels, channels, norm=norm, stride=ones) for _ in range(2))
        self.last = CONVS[dims](channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps of ``(B, C, *size)``, the logits ``(B, 1, *size)`` last."""
        skips = [self.first(x)]
        for layer in self.down:
            skips.append(layer(skips[-1]))
        out = list(skips)
        for layer, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            wide = interpolate(out[-1], size=skip.shape[2:], mode=self.mode, align_corners=False)
            out.append(layer(wide) + skip)
        for layer in self.mend:
            out.append(layer(out[-1]))
        return [*out, self.last(out[-1])]
