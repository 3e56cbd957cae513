"""Generators that run others: on both families of planes, or in a sliding window."""

from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Any, cast

import torch
from torch import Tensor

from sr_imaging.networks import Generator, GeneratorModule
from sr_imaging.networks.layers import shuffle, unshuffle

__all__ = ["BothPlanes", "Windowed"]


class BothPlanes(GeneratorModule):
    """A through-plane generator as a 3-D one: the mean of its results on the (z, y) and the (z, x) planes.

    Parameters
    ----------
    planar : Generator
        Generator with axes ``("z", "plane")`` and scale ``(k, 1)``.
    """

    def __init__(self, planar: Generator) -> None:
        super().__init__(
            (int(planar.scale[0]), 1, 1),
            halo=None if planar.halo is None else (planar.halo[0], planar.halo[1], planar.halo[1]),
            in_channels=planar.in_channels,
            fixed_values=planar.fixed_values,
            **_more_facts(planar),
        )
        self.planar = planar

    def forward(self, x: Tensor, **beside: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` along z; noise and guide are cut into planes as it is."""
        b = x.shape[0]
        zy = {name: self._zy(t) for name, t in beside.items()}
        zx = {name: self._zx(t) for name, t in beside.items()}
        planar = cast(Any, self.planar)
        first, second = planar(self._zy(x), **zy), planar(self._zx(x), **zx)
        first = first.reshape(b, -1, *first.shape[1:]).permute(0, 2, 3, 4, 1)
        second = second.reshape(b, -1, *second.shape[1:]).permute(0, 2, 3, 1, 4)
        return cast(Tensor, (first + second) / 2)

    @property
    def _side(self) -> int:
        """In-plane context."""
        return 0 if self.halo is None else self.halo[1]

    def _zy(self, x: Tensor) -> Tensor:
        """Planes ``(B * x, C, z, y)``."""
        return x[..., self._side : x.shape[4] - self._side].permute(0, 4, 1, 2, 3).flatten(0, 1)

    def _zx(self, x: Tensor) -> Tensor:
        """Planes ``(B * y, C, z, x)``."""
        return x[..., self._side : x.shape[3] - self._side, :].permute(0, 3, 1, 2, 4).flatten(0, 1)


class Windowed(GeneratorModule):
    """A generator without finite halo (strides, whole-image statistics) in blended windows.

    Parameters
    ----------
    generator : Generator
        Takes any size.
    window : tuple of int
        LR pixels of a window along each axis; rounded to multiples of what the generator takes.
    """

    def __init__(self, generator: Generator, window: Sequence[int]) -> None:
        super().__init__(
            [int(s) for s in generator.scale],
            halo=(0,) * generator.spatial_dims,
            in_channels=generator.in_channels,
            axes=generator.axes,
            fixed_values=generator.fixed_values,
            **_more_facts(generator),
        )
        self.generator = generator
        self.window = tuple(max(1, n // self.multiple) * self.multiple for n in window)

    def forward(self, x: Tensor, latent: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """Super-resolve a whole image ``(B, C, n)``, with noise and guide beside it as more bands of it."""
        from monai.inferers.utils import sliding_window_inference

        whole = [ceil(n / self.multiple) * self.multiple for n in x.shape[2:]]
        fine = None if guide is None else unshuffle(guide, self.scale)
        parts = [part for part in (x, latent, fine) if part is not None]
        made = sliding_window_inference(
            torch.cat(parts, 1),
            [min(n, most) for n, most in zip(whole, self.window, strict=True)],
            sw_batch_size=1,
            predictor=partial(self._run, x.shape[1], 0 if latent is None else latent.shape[1]),
            overlap=0.25,
            mode="gaussian",
            padding_mode="replicate",
        )
        return cast(Tensor, made)

    def _run(self, bands: int, noise: int, window: Tensor) -> Tensor:
        """Run the generator on a window of image, noise and guide."""
        x, latent, guide = window.tensor_split((bands, bands + noise), 1)
        beside = {"latent": latent} if noise else {}
        if guide.shape[1]:
            beside["guide"] = shuffle(guide, self.scale)
        return cast(Tensor, cast(Any, self.generator)(x, **beside))


def _more_facts(generator: Generator) -> dict[str, Any]:
    """The optional facts of a generator, to be stated by what wraps it."""
    defaults = {"latent_channels": 0, "guide_channels": 0, "multiple": 1}
    return {fact: getattr(generator, fact, default) for fact, default in defaults.items()}
