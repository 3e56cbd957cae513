"""How far two images of one grid are displaced against each other, to a hundredth of a pixel."""

from functools import reduce

import numpy as np

__all__ = ["content_shift"]

_LEAST = 8  # pixels: a shorter axis does not show a shift
_WHITENING = 0.5  # power of the spectrum that is divided out: 0 blurs the peak, 1 drowns it in noise
_STEPS = (0.1, 0.01)  # of a pixel: the grids on which the peak is looked for, one after the other


def content_shift(a: np.ndarray, b: np.ndarray) -> tuple[float, ...]:
    """Return how many pixels `b` lies behind `a` along each axis by their content: ``b(x) = a(x - shift)``.

    The images (*n) are of one shape and area, not finite where invalid; gain and offset do not matter. 0
    along axes shorter than 8 pixels, and where an image is constant. By the peak of their cross-correlation
    on an ever finer grid (M. Guizar-Sicairos, S. Thurman, J. Fienup, Optics Letters 33, 2008).
    """
    valid = np.isfinite(a) & np.isfinite(b)
    spectra = [np.fft.fftn(_window_image(image, valid)) for image in (a, b)]
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
        shift = _refine_peak(cross, shift, step)
    return tuple(round(s, 2) + 0.0 for s in shift)


def _window_image(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return an image without its mean, fading to zero at its borders and zero where invalid."""
    mean = image[valid].mean() if valid.any() else 0.0
    centred = np.where(valid, image - mean, 0.0)
    windows = [np.hanning(n + 2)[1:-1] if n >= _LEAST else np.ones(n) for n in image.shape]
    return np.asarray(centred * reduce(np.multiply.outer, windows))


def _refine_peak(cross: np.ndarray, shift: list[float], step: float) -> list[float]:
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
