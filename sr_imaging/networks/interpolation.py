"""Interpolation as generators: nearest, linear, cubic (Keys), Lanczos, Fourier, at half-pixel centres.

They have no weights, share the contract of the learned generators, and are the reference of every dB figure.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sr_imaging.errors import ModelError
from sr_imaging.image.pixels.kernels import INTERPOLATIONS, LARGEST, interpolation_weights

from .contract import GeneratorModule

__all__ = ["Interpolation", "interleave"]


class Interpolation(GeneratorModule):
    """A separable interpolation of whole factors, exact on straight ramps away from the border.

    Parameters
    ----------
    method : str
        Key of ``INTERPOLATIONS``.
    scale, axes
        As in :class:`~sr_imaging.networks.GeneratorModule`.

    Raises
    ------
    ModelError
        If the method is unknown, or a factor is not whole or beyond 1000.
    """

    def __init__(self, method: str, scale: Sequence[float], axes: Sequence[str] | None = None) -> None:
        if method not in INTERPOLATIONS:
            raise ModelError(f"unknown interpolation {method!r}; use one of {', '.join(INTERPOLATIONS)}")
        if max(scale, default=1) > LARGEST:
            raise ModelError(
                f"interpolation by {tuple(scale)} is by more than {LARGEST}; give a smaller scale"
            )
        if any(s < 1 or s != int(s) for s in scale):
            raise ModelError(
                f"interpolation by {tuple(scale)} is not by whole factors; ask for a target spacing"
            )
        radius = INTERPOLATIONS[method][1]
        super().__init__([int(s) for s in scale], halo=[radius if s > 1 else 0 for s in scale], axes=axes)
        phases = [((np.arange(s) + 0.5) / s - 0.5) for s in self.scale]
        self._weights = [interpolation_weights(method, phase).tolist() for phase in phases]

    def forward(self, x: Tensor) -> Tensor:
        """Interpolate ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``."""
        for k, (scale, weights) in enumerate(zip(self.scale, self._weights, strict=True)):
            if scale > 1:
                x = interleave(x, 2 + k, weights)
        return x


def interleave(x: Tensor, dim: int, weights: list[list[float]]) -> Tensor:
    """Refine one axis of ``n + t - 1`` pixels to ``n * s``: each phase is a weighted sum of shifted views.

    `weights` are those of the `t` taps, for each of the `s` fine pixels of a coarse one.
    """
    size = x.shape[dim] - len(weights[0]) + 1
    phases = []
    for row in weights:
        taps = [(w, x.narrow(dim, t, size)) for t, w in enumerate(row) if w != 0]
        total = taps[0][1] * taps[0][0]
        for weight, view in taps[1:]:
            total = total.add_(view, alpha=weight) if not x.requires_grad else total.add(view, alpha=weight)
        phases.append(total)
    return torch.stack(phases, dim + 1).flatten(dim, dim + 1)
