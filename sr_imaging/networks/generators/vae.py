"""A variational autoencoder that super-resolves: every draw of its code gives another plausible image."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from sr_imaging.networks.contract import GeneratorModule
from sr_imaging.networks.contrast import CONTRAST_REACH, local_contrast, precise, ratio
from sr_imaging.networks.layers import InterpolationSkip, ZeroMeanConv, conv, crop, shuffle, zero_conv

__all__ = ["VAE"]

_LOG_VARIANCE = 10.0  # bound on both sides: beyond any sensible variance, and e ** 20 is still a number


class VAE(GeneratorModule):
    """Encoder to the mean and variance of a code on the LR grid, decoder of the code to HR detail.

    ``forward(x, latent=noise)`` decodes ``mean + deviation * noise``; without noise it draws in training and
    decodes the mean in evaluation. The encoder sees features divided by the local contrast of the image, and
    the decoder's detail is multiplied by it, so the code has no unit and the network is equivariant, biases
    and all. Convolutions are unpadded: the halo is finite, and tiles are exact.

    Parameters
    ----------
    scale, in_channels, axes, skip
        As in ``SRResNet``.
    channels : int
        Width of encoder and decoder.
    depth : int
        Convolutions of the encoder, and of the decoder; the halo is ``2 * depth + 3``.
    latent_channels : int
        Numbers of the code at each LR pixel.

    Attributes
    ----------
    divergence : Tensor
        Scalar: the Kullback-Leibler divergence of the code from a standard normal, mean over its numbers, of
        the last forward in training; 0 before.

    References
    ----------
    D. Kingma and M. Welling, "Auto-encoding variational Bayes", ICLR 2014, eq. 10. A. Larsen et al.,
    "Autoencoding beyond pixels using a learned similarity metric", ICML 2016 (its decoder as the generator of
    an adversarial game).
    """

    divergence: Tensor

    def __init__(
        self,
        scale: Sequence[int],
        *,
        in_channels: int = 1,
        channels: int = 32,
        depth: int = 3,
        latent_channels: int = 8,
        axes: Sequence[str] | None = None,
        skip: str = "cubic",
    ) -> None:
        if latent_channels < 1:
            raise ValueError(f"a code of {latent_channels} numbers holds nothing; give at least 1")
        halo = (CONTRAST_REACH + 2 * depth + 1,) * len(scale)
        super().__init__(
            scale, halo=halo, in_channels=in_channels, axes=axes, latent_channels=latent_channels
        )
        dims = self.spatial_dims
        self.first = ZeroMeanConv(dims, in_channels, channels)
        self.encoder = _stack_layers(dims, channels, depth)
        self.code = conv(dims, channels, 2 * latent_channels, 1, bias=True)
        widen = conv(dims, latent_channels, channels, 1, bias=True)
        self.decoder = nn.Sequential(widen, *_stack_layers(dims, channels, depth))
        self.tail = zero_conv(dims, channels, in_channels * prod(scale))
        self.skip = InterpolationSkip(self.scale, halo, skip)
        self.divergence = torch.zeros(())

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, without the divergence of a step, whose graph cannot be copied."""
        return {**self.__dict__, "divergence": torch.zeros(())}

    def forward(self, x: Tensor, latent: Tensor | None = None) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``; `latent` is on the grid of x."""
        contrast = local_contrast(x)
        features = crop(self.first(x), CONTRAST_REACH - 1, self.spatial_dims)
        mean, log_variance = precise(self.code(self.encoder(ratio(features, contrast)))).chunk(2, 1)
        log_variance = log_variance.clamp(-_LOG_VARIANCE, _LOG_VARIANCE)
        if self.training:
            squares = mean**2 + log_variance.exp() - 1 - log_variance
            self.divergence = squares.mean() / 2
        detail = self.tail(self.decoder(self._draw_code(mean, log_variance, latent)))
        contrast = crop(contrast, (contrast.shape[-1] - detail.shape[-1]) // 2, self.spatial_dims)
        out: Tensor = self.skip(x) + shuffle(detail * contrast, self.scale).float()
        return out

    def _draw_code(self, mean: Tensor, log_variance: Tensor, latent: Tensor | None) -> Tensor:
        """Return a code of this mean and variance: from the noise given, drawn in training, else the mean."""
        if latent is not None:
            noise = crop(latent, (latent.shape[-1] - mean.shape[-1]) // 2, self.spatial_dims)
        elif self.training:
            noise = torch.randn_like(mean)
        else:
            return mean
        return mean + (log_variance / 2).exp() * noise


def _stack_layers(dims: int, channels: int, depth: int) -> nn.Sequential:
    """Return `depth` convolutions, each after its activation, and a last activation."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.LeakyReLU(0.1), conv(dims, channels, channels, bias=True)]
    return nn.Sequential(*layers, nn.LeakyReLU(0.1))
