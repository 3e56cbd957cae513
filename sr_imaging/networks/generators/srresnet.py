"""SRResNet, the architecture of the bundled models, and EDSR: residual blocks at low resolution."""

from collections.abc import Sequence

from .residual import Residual, residual_block

__all__ = ["EDSR", "SRResNet"]


class SRResNet(Residual):
    """Residual network, 2-D or 3-D, any factor on each axis, equivariant by construction.

    Differs from the paper in having no batch normalisation and no biases, LeakyReLU for PReLU, a first layer
    of 3 × 3 zero-mean kernels, one sub-pixel step, and detail added to the interpolated image.

    Parameters
    ----------
    scale : tuple of int
        Fine pixels per coarse pixel of each axis; its length is the number of axes.
    in_channels : int
        Bands that are super-resolved together; 1 serves any number of bands, one at a time.
    channels : int
        Width of the blocks.
    blocks : int
        Number of residual blocks; the halo is ``2 * blocks + 3``.
    axes : tuple of str, optional
        As in :class:`~sr_imaging.networks.Generator`.
    skip : str
        Interpolation of the skip, a key of ``INTERPOLATIONS``.

    References
    ----------
    C. Ledig et al., "Photo-realistic single image super-resolution using a generative adversarial network",
    CVPR 2017, section 2.1.1. B. Lim et al., "Enhanced deep residual networks for single image
    super-resolution", CVPRW 2017 (no batch normalisation).
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 32,
        blocks: int = 4,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        made = [residual_block(len(scale), channels) for _ in range(blocks)]
        super().__init__(scale, in_channels=in_channels, channels=channels, blocks=made, axes=axes, skip=skip)


class EDSR(Residual):
    """Enhanced deep residual network, 2-D or 3-D, any factor on each axis, equivariant by construction.

    Wider than :class:`SRResNet`, with ReLU in its blocks and their residues weighted by 0.1, which keeps wide
    blocks stable. Differs from the paper in having no biases, a first layer of zero-mean kernels and
    LeakyReLU, one sub-pixel step, and detail added to the interpolated image.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``.
    channels : int
        Width of the blocks; 256 in the paper's largest.
    blocks : int
        Number of residual blocks, 32 in the paper's largest; the halo is ``2 * blocks + 3``.

    References
    ----------
    B. Lim et al., "Enhanced deep residual networks for single image super-resolution", CVPRW 2017.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 128,
        blocks: int = 16,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        made = [residual_block(len(scale), channels, slope=0.0, weight=0.1) for _ in range(blocks)]
        super().__init__(scale, in_channels=in_channels, channels=channels, blocks=made, axes=axes, skip=skip)
