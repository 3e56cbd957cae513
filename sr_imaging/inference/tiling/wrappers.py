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
    """A through-plane generator, of axes z and plane, as a 3-D one.

    Its result is the mean of those on the (z, y) and the (z, x) planes.
    """

    def __init__(self, planar: Generator) -> None:
        super().__init__(
            (int(planar.scale[0]), 1, 1),
            halo=None if planar.halo is None else (planar.halo[0], planar.halo[1], planar.halo[1]),
            in_channels=planar.in_channels,
            fixed_values=planar.fixed_values,
            **_optional_facts(planar),
        )
        self.planar = planar

    def forward(self, x: Tensor, **others: Tensor) -> Tensor:
        """Return ``(B, C, n + 2 * halo)`` finer along z; noise and guide are cut into planes as it is."""
        b = x.shape[0]
        zy = {name: self._cut_zy(t) for name, t in others.items()}
        zx = {name: self._cut_zx(t) for name, t in others.items()}
        planar = cast(Any, self.planar)
        first, second = planar(self._cut_zy(x), **zy), planar(self._cut_zx(x), **zx)
        first = first.reshape(b, -1, *first.shape[1:]).permute(0, 2, 3, 4, 1)
        second = second.reshape(b, -1, *second.shape[1:]).permute(0, 2, 3, 1, 4)
        return cast(Tensor, (first + second) / 2)

    @property
    def _plane_halo(self) -> int:
        """In-plane context in LR pixels."""
        return 0 if self.halo is None else self.halo[1]

    def _cut_zy(self, x: Tensor) -> Tensor:
        """Return the planes ``(B * x, C, z, y)``."""
        return x[..., self._plane_halo : x.shape[4] - self._plane_halo].permute(0, 4, 1, 2, 3).flatten(0, 1)

    def _cut_zx(self, x: Tensor) -> Tensor:
        """Return the planes ``(B * y, C, z, x)``."""
        return (
            x[..., self._plane_halo : x.shape[3] - self._plane_halo, :].permute(0, 3, 1, 2, 4).flatten(0, 1)
        )


class Windowed(GeneratorModule):
    """A generator without finite halo (strides, whole-image statistics) in blended windows.

    A `window` has LR pixels along each axis, rounded to multiples of what the generator takes.
    """

    def __init__(self, generator: Generator, window: Sequence[int]) -> None:
        super().__init__(
            [int(s) for s in generator.scale],
            halo=(0,) * generator.spatial_dims,
            in_channels=generator.in_channels,
            axes=generator.axes,
            fixed_values=generator.fixed_values,
            **_optional_facts(generator),
        )
        self.generator = generator
        self.window = tuple(max(1, n // self.multiple) * self.multiple for n in window)

    def forward(self, x: Tensor, latent: Tensor | None = None, guide: Tensor | None = None) -> Tensor:
        """Return a whole image ``(B, C, n)`` finer; noise and guide go with it as more bands."""
        from monai.inferers.utils import sliding_window_inference

        whole = [ceil(n / self.multiple) * self.multiple for n in x.shape[2:]]
        fine = None if guide is None else unshuffle(guide, self.scale)
        parts = [part for part in (x, latent, fine) if part is not None]
        made = sliding_window_inference(
            torch.cat(parts, 1),
            [min(n, most) for n, most in zip(whole, self.window, strict=True)],
            sw_batch_size=1,
            predictor=partial(self._run_window, x.shape[1], 0 if latent is None else latent.shape[1]),
            overlap=0.25,
            mode="gaussian",
            padding_mode="replicate",
        )
        return cast(Tensor, made)

    def _run_window(self, bands: int, noise: int, window: Tensor) -> Tensor:
        """Return what the generator makes of a window of image, noise and guide."""
        x, latent, guide = window.tensor_split((bands, bands + noise), 1)
        others = {"latent": latent} if noise else {}
        if guide.shape[1]:
            others["guide"] = shuffle(guide, self.scale)
        return cast(Tensor, cast(Any, self.generator)(x, **others))


def _optional_facts(generator: Generator) -> dict[str, Any]:
    """Return the optional facts of a generator, for what wraps it to state."""
    defaults = {"latent_channels": 0, "guide_channels": 0, "multiple": 1}
    return {fact: getattr(generator, fact, default) for fact, default in defaults.items()}
