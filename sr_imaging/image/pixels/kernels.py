"""Interpolation kernels and the weights they give on a refined axis."""

from collections.abc import Callable

import numpy as np

__all__ = ["INTERPOLATIONS", "LARGEST", "interpolation_weights", "weigh_cubic"]

LARGEST = 1000  # factor; each phase has weights of its own


def _weigh_nearest(t: np.ndarray) -> np.ndarray:
    return np.where((t >= -0.5) & (t < 0.5), 1.0, 0.0)


def _weigh_linear(t: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(1 - np.abs(t), 0.0))


def weigh_cubic(t: np.ndarray) -> np.ndarray:
    """Return the cubic of Keys 1981, eq. 15, with a = -0.5, the value whose error is of third order."""
    a, t = -0.5, np.abs(t)
    inner = (a + 2) * t**3 - (a + 3) * t**2 + 1
    outer = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0.0))


def _weigh_lanczos(t: np.ndarray) -> np.ndarray:
    """Return the three lobes of Duchon 1979."""
    return np.where(np.abs(t) < 3, np.sinc(t) * np.sinc(t / 3), 0.0)


def _weigh_fourier(t: np.ndarray) -> np.ndarray:
    """Return the sinc of a spectrum filled up with zeros, ended after 16 lobes by a Kaiser window of beta 8.

    The whole sinc would tie every pixel to the far side of the image: no tiles, no lazy blocks. This one
    passes waves of up to 0.8 of the Nyquist frequency within 1e-4, and stops what lies 1.2 times above it.
    """
    lobes, beta = 16, 8.0
    window = np.i0(beta * np.sqrt(np.maximum(1 - (t / lobes) ** 2, 0.0))) / np.i0(beta)
    return np.where(np.abs(t) < lobes, np.sinc(t) * window, 0.0)


# name: kernel of the distance in LR pixels, and its radius
INTERPOLATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "nearest": (_weigh_nearest, 0),
    "linear": (_weigh_linear, 1),
    "cubic": (weigh_cubic, 2),
    "lanczos": (_weigh_lanczos, 3),
    "fourier": (_weigh_fourier, 16),
}


def interpolation_weights(method: str, offset: np.ndarray) -> np.ndarray:
    """Return the weights (n, 2 * r + 1) of the taps ``-r … r`` around the nearest LR pixel; a row sums to 1.

    `offset` (n,) is relative to the centre of that pixel, in LR pixels, -0.5 to 0.5. R. Keys, IEEE TASSP 29,
    1981; C. Duchon, J. Appl. Meteorology 18, 1979; J. Smith and P. Gossett, ICASSP 1984 (the windowed sinc).
    """
    kernel, radius = INTERPOLATIONS[method]
    if radius == 0:
        return np.ones((len(offset), 1))
    weights = kernel(np.asarray(offset)[:, None] - np.arange(-radius, radius + 1)[None, :])
    return np.asarray(weights / weights.sum(1, keepdims=True))
