"""How far two images of one grid are displaced against each other, to a hundredth of a pixel."""

from functools import reduce

import numpy as np

__all__ = ["content_shift"]

_LEAST = 8  # pixels: a shorter axis tells nothing of a shift
_WHITENING = 0.5  # power of the spectrum that is divided out: 0 blurs the peak, 1 drowns it in noise
_STEPS = (0.1, 0.01)  # of a pixel: the grids on which the peak is looked for, one after the other


def content_shift(a: np.ndarray, b: np.ndarray) -> tuple[float, ...]:
    """Return how far the content of `b` lies behind that of `a`, by the peak of their cross-correlation.

    Parameters
    ----------
    a, b : (*n) float ndarray
        Images of one shape and area; not finite where invalid. Gain and offset do not matter.

    Returns
    -------
    tuple of float
        Shift in pixels along each axis: ``b(x) = a(x - shift)``; 0 along axes shorter than 8 pixels, and
        where an image is constant.

    References
    ----------
    M. Guizar-Sicairos, S. Thurman, J. Fienup, "Efficient subpixel image registration algorithms", Optics
    Letters 33, 2008 (the peak on an ever finer grid by matrix products).
    """
    valid = np.isfinite(a) & np.isfinite(b)
    spectra = [np.fft.fftn(_windowed(image, valid)) for image in (a, b)]
    cross = spectra[1] * spectra[0].conj()
    size = np.abs(cross)
    if not size.max() > 0:
        return (0.0,) * a.ndim
    cross = cross / np.maximum(size, 1e-9 * size.max()) ** _WHITENING
    correlation = np.fft.ifftn(cross).real
    for axis, n in enumerate(a.shape):
        if n < _LEAST:
            correlation = np.take(correlation, [0], axis)
    peak = np.unravel_index(int(correlation.argmax()), correlation.shape)
    shift = [float(p if p <= n // 2 else p - n) for p, n in zip(peak, a.shape, strict=True)]
    for step in _STEPS:
        shift = _refined(cross, shift, step)
    return tuple(round(s, 2) + 0.0 for s in shift)


def _windowed(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Image without its mean, fading to zero at its borders and zero where invalid."""
    mean = image[valid].mean() if valid.any() else 0.0
    centred = np.where(valid, image - mean, 0.0)
    windows = [np.hanning(n + 2)[1:-1] if n >= _LEAST else np.ones(n) for n in image.shape]
    return np.asarray(centred * reduce(np.multiply.outer, windows))


def _refined(cross: np.ndarray, shift: list[float], step: float) -> list[float]:
    """Return the place of the highest correlation within ten steps of `shift` along each axis."""
    around = np.arange(-10, 11) * step
    values = cross
    places = []
    for axis, (n, middle) in enumerate(zip(cross.shape, shift, strict=True)):
        place = middle + around if n >= _LEAST else np.array([0.0])
        turns = np.exp(2j * np.pi * np.outer(place, np.fft.fftfreq(n)))
        values = np.moveaxis(np.tensordot(turns, values, (1, axis)), 0, axis)
        places.append(place)
    best = np.unravel_index(int(values.real.argmax()), values.shape)
    return [float(place[k]) for place, k in zip(places, best, strict=True)]
