"""Interpolation as generators: nearest, linear, cubic (Keys), Lanczos, Fourier, at half-pixel centres.

They have no weights, share the contract of the learned generators, and are the reference of every dB figure.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sr_imaging.errors import ModelError

from .contract import GeneratorModule

__all__ = ["INTERPOLATIONS", "LARGEST", "Interpolation", "interleave", "interpolation_weights"]


def _nearest(t: np.ndarray) -> np.ndarray:
    return np.where((t >= -0.5) & (t < 0.5), 1.0, 0.0)


def _linear(t: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(1 - np.abs(t), 0.0))


def _cubic(t: np.ndarray) -> np.ndarray:
    """Keys 1981, eq. 15, with a = -0.5, the value whose error is of third order."""
    a, t = -0.5, np.abs(t)
    inner = (a + 2) * t**3 - (a + 3) * t**2 + 1
    outer = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0.0))


def _lanczos(t: np.ndarray) -> np.ndarray:
    """Duchon 1979, three lobes."""
    return np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0.0)


def _fourier(t: np.ndarray) -> np.ndarray:
    """The sinc of a spectrum filled up with zeros, ended after 16 lobes by a Kaiser window of beta 8.

    The whole sinc would tie every pixel to the far side of the image: no tiles, no lazy blocks. This one
    passes waves of up to 0.8 of the Nyquist frequency within 1e-4, and stops what lies 1.2 times above it.
    """
    lobes, beta = 16, 8.0
    window = np.i0(beta * np.sqrt(np.maximum(1 - (t / lobes) ** 2, 0.0))) / np.i0(beta)
    return np.where(np.abs(t) < lobes, np.sinc(t) * window, 0.0)


LARGEST = 1000  # factor; each phase has weights of its own

# name: kernel of the distance in LR pixels, and its radius
INTERPOLATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "nearest": (_nearest, 0),
    "linear": (_linear, 1),
    "cubic": (_cubic, 2),
    "lanczos": (_lanczos, 3),
    "fourier": (_fourier, 16),
}


def interpolation_weights(method: str, offset: np.ndarray) -> np.ndarray:
    """Return the weights of the taps ``-r … r`` around the nearest LR pixel.

    Parameters
    ----------
    method : str
        Key of ``INTERPOLATIONS``.
    offset : (n,) float ndarray
        Position relative to the centre of that pixel, in LR pixels, -0.5 to 0.5.

    Returns
    -------
    (n, 2 * r + 1) float64 ndarray
        Weights that sum to 1 in each row.

    References
    ----------
    R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981.
    C. Duchon, "Lanczos filtering in one and two dimensions", J. Appl. Meteorology 18, 1979.
    J. Smith and P. Gossett, "A flexible sampling-rate conversion method", ICASSP 1984 (the windowed sinc).
    """
    kernel, radius = INTERPOLATIONS[method]
    if radius == 0:
        return np.ones((len(offset), 1))
    weights = kernel(np.asarray(offset)[:, None] - np.arange(-radius, radius + 1)[None, :])
    return np.asarray(weights / weights.sum(1, keepdims=True))


class Interpolation(GeneratorModule):
    """A separable interpolation of whole factors, exact on straight ramps away from the border.

    Parameters
    ----------
    method : str
        Key of ``INTERPOLATIONS``.
    scale : tuple of int
        Fine pixels per coarse pixel of each axis, >= 1.
    axes : tuple of str, optional
        As in :class:`~sr_imaging.networks.Generator`.

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
    """Refine one axis: each phase is a weighted sum of shifted views, then the phases interleave.

    Parameters
    ----------
    x : (…, n + t - 1, …) Tensor
        Coarse pixels.
    dim : int
        The axis.
    weights : (s, t) list
        Weights of the taps, for each of the `s` fine pixels of a coarse one.

    Returns
    -------
    (…, n * s, …) Tensor
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
