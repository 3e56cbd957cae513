"""A noise map for any generator: one image, several plausible results."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sr_imaging.networks.contract import GeneratorModule, replicate
from sr_imaging.networks.contrast import CONTRAST_REACH, local_contrast
from sr_imaging.networks.layers import crop

__all__ = ["Latent", "with_latent"]


class Latent(GeneratorModule):
    """A generator that takes bands of noise with those of the image, and adds their finer form to it.

    The noise is multiplied by the local contrast of the image, so that it has the image's unit and the whole
    stays equivariant. The generator super-resolves image and noise together; the finer noise is added to the
    finer image by learned weights that start at 0: training starts at the generator without noise.

    Parameters
    ----------
    generator : Generator
        Takes the bands of the image and, after them, those of the noise.
    latent_channels : int
        Bands of noise, >= 1.

    References
    ----------
    Y. Bahat and T. Michaeli, "Explorable super resolution", CVPR 2020 (a noise map next to the image).
    """

    def __init__(self, generator: Any, latent_channels: int) -> None:
        halo = generator.halo
        super().__init__(
            generator.scale,
            halo=None if halo is None else [h + CONTRAST_REACH for h in halo],
            in_channels=generator.in_channels - latent_channels,
            axes=generator.axes,
            fixed_values=generator.fixed_values,
            latent_channels=latent_channels,
            guide_channels=generator.guide_channels,
            multiple=generator.multiple,
            scale_range=generator.scale_range,
        )
        self.generator = generator
        self.mix = nn.Parameter(torch.zeros(self.in_channels, latent_channels))

    def forward(self, x: Tensor, guide: Tensor | None = None, *, latent: Tensor | None = None) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``, with a guide if it takes one."""
        if latent is None:
            shape = (x.shape[0], self.latent_channels, *x.shape[2:])
            draw = torch.randn if self.training else torch.zeros
            latent = draw(shape, device=x.device)
        margin = (CONTRAST_REACH,) * self.spatial_dims
        if self.halo is None:
            contrast = local_contrast(replicate(x, [(m, m) for m in margin]))
        else:
            contrast = local_contrast(x)
            x, latent = crop(x, margin, self.spatial_dims), crop(latent, margin, self.spatial_dims)
        both = torch.cat([x, (latent * contrast).to(x.dtype)], 1)
        y: Tensor = self.generator(both, *self._crop_guide(guide))
        image, noise = y[:, : self.in_channels], y[:, self.in_channels :]
        with torch.autocast(x.device.type, enabled=False):
            return image + torch.einsum("cl,bl...->bc...", self.mix.to(noise.dtype), noise)

    def _crop_guide(self, guide: Tensor | None) -> tuple[Tensor, ...]:
        """Return the guide, where there is one, as the inner generator takes it."""
        if guide is None:
            return ()
        if self.halo is None:
            return (guide,)
        return (crop(guide, [CONTRAST_REACH * s for s in self.scale], self.spatial_dims),)


def with_latent(make: Callable[..., nn.Module], latent_channels: int = 0, **arguments: Any) -> nn.Module:
    """Return a generator of these arguments that takes `latent_channels` bands of noise; 0 for none."""
    if latent_channels == 0:
        return make(**arguments)
    bands = arguments.get("in_channels", 1) + latent_channels
    return Latent(make(**{**arguments, "in_channels": bands}), latent_channels)
