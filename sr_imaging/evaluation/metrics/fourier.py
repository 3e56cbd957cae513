"""Up to which frequency an estimate agrees with the truth: Fourier ring and shell correlation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from sr_imaging.errors import GridError

from .pixels import valid_pixels

__all__ = ["THRESHOLD", "FourierCorrelation", "fourier_correlation"]

THRESHOLD = 1 / 7  # 0.143: Rosenthal and Henderson 2003; Nieuwenhuizen et al. 2013
_BLOCK, _LEAST = 64, 16  # pixels: side of a block, and the smallest that has rings worth the name
_AT_ONCE = 1 << 22  # pixels transformed together: about 100 MB


@dataclass(frozen=True)
class FourierCorrelation:
    """Correlation of two images by frequency.

    Parameters
    ----------
    frequency : tuple of float
        Middle of each ring or shell, in cycles per unit of the spacing, ascending, the constant left out.
    correlation : tuple of float
        -1 to 1.
    limit : float
        Highest frequency that the grid can hold along every axis, in the same unit.
    """

    frequency: tuple[float, ...]
    correlation: tuple[float, ...]
    limit: float

    def resolution(self, threshold: float = THRESHOLD) -> float:
        """Return the period at which the correlation first falls below a threshold.

        Parameters
        ----------
        threshold : float
            Correlation, between 0 and 1.

        Returns
        -------
        float
            In the unit of the spacing, between rings on a straight line; two pixels where the correlation
            never falls below.
        """
        frequencies, values = (0.0, *self.frequency), (1.0, *self.correlation)
        for k in range(1, len(values)):
            if values[k] < threshold:
                part = (values[k - 1] - threshold) / (values[k - 1] - values[k])
                crossing = frequencies[k - 1] + part * (frequencies[k] - frequencies[k - 1])
                return float(1 / crossing)
        return float(1 / self.limit)


def fourier_correlation(
    sr: Any, hr: Any, *, spacing: Sequence[float], axes: Sequence[int] | None = None, valid: Any = None
) -> FourierCorrelation:
    """Return the correlation of estimate and truth on rings (shells, planes) of equal frequency.

    The images are cut into blocks of 64 pixels that overlap by half, or as long as an axis where that is
    shorter. A block with an invalid pixel does not count; where none is left, blocks of 32 and then of 16
    pixels are tried. Each block is freed of its mean and weighted by a Hann window, so that its border makes
    no frequencies; products and powers are summed over all blocks before they are divided.

    Parameters
    ----------
    sr, hr : array
        Estimate and truth of one shape.
    spacing : sequence of float
        Distance between pixel centres along each of `axes`, > 0, in one unit.
    axes : sequence of int, optional
        Axes whose frequencies count: two give rings, three shells, one planes. All by default; images along
        the other axes are taken together.
    valid : bool array, optional
        As in :func:`sr_imaging.evaluation.metrics.pixels.mse`.

    Returns
    -------
    FourierCorrelation
        Rings are as wide as the coarsest frequency step of the axes, up to the lowest of their Nyquist
        frequencies.

    Raises
    ------
    GridError
        If the shapes differ, an axis is shorter than 16 pixels, no block is free of invalid pixels, or one of
        the images is constant.

    References
    ----------
    W. Saxton and W. Baumeister, "The correlation averaging of a regularly arranged bacterial cell envelope
    protein", Journal of Microscopy 127, 1982: rings. G. Harauz and M. van Heel, "Exact filters for general
    geometry three dimensional reconstruction", Optik 73, 1986: shells. P. Welch, "The use of fast Fourier
    transform for the estimation of power spectra", IEEE Transactions on Audio and Electroacoustics 15, 1967:
    blocks. P. Rosenthal and R. Henderson, "Optimal determination of particle orientation, absolute hand, and
    contrast loss in single-particle electron cryomicroscopy", Journal of Molecular Biology 333, 2003: 0.143.
    """
    keep = valid_pixels(sr, hr, valid)
    axes = tuple(range(keep.ndim)) if axes is None else tuple(axis % keep.ndim for axis in axes)
    last = tuple(range(-len(axes), 0))
    sr, hr, keep = (np.moveaxis(np.asarray(image), axes, last) for image in (sr, hr, keep))
    shape = hr.shape[-len(axes) :]
    if min(shape) < _LEAST:
        raise GridError(f"axes of {shape} pixels are shorter than {_LEAST}; Fourier correlation needs more")
    side = _BLOCK
    while side >= _LEAST:
        block = tuple(min(side, size) for size in shape)
        rings = _Rings.of(block, spacing)
        sums = _sum_over_blocks(sr, hr, keep, block, rings)
        if sums is not None:
            return _divide_sums(sums, rings)
        side //= 2
    raise GridError(f"no block of {_LEAST} pixels is free of nodata; Fourier correlation needs one")


@dataclass(frozen=True)
class _Rings:
    """Which ring each frequency of a block lies on, how often it counts, and where the rings are."""

    number: np.ndarray
    weight: np.ndarray
    width: float
    limit: float

    @classmethod
    def of(cls, block: Sequence[int], spacing: Sequence[float]) -> "_Rings":
        """Return the rings of a block; the last axis has its half of frequencies that are not negative."""
        pairs = list(zip(block, spacing, strict=True))
        along = [np.fft.fftfreq(n, d) for n, d in pairs[:-1]] + [np.fft.rfftfreq(*pairs[-1])]
        radius = np.sqrt(sum(f**2 for f in np.meshgrid(*along, indexing="ij")))
        width = max(1 / (n * d) for n, d in pairs)
        limit = min(1 / (2 * d) for _, d in pairs)
        twice = (np.arange(len(along[-1])) > 0) & (np.arange(len(along[-1])) * 2 < block[-1])
        weight = np.broadcast_to(np.where(twice, 2.0, 1.0), radius.shape)
        return cls(np.rint(radius / width).astype(int).ravel(), weight.ravel(), width, limit)


def _sum_over_blocks(
    sr: np.ndarray, hr: np.ndarray, keep: np.ndarray, block: tuple[int, ...], rings: _Rings
) -> np.ndarray | None:
    """Return (3, rings) sums of product and both powers over all valid blocks; None where there is none."""
    window = np.ones(())
    for n in block:
        window = window[..., None] * np.sin(np.pi * np.arange(n) / n) ** 2  # Hann
    sums = np.zeros((3, rings.number.max() + 1))
    found = False
    axes = tuple(range(1, 1 + len(block)))
    for x, y in _cut_blocks(sr, hr, keep, block):
        found = True
        fx, fy = (np.fft.rfftn(_apply_window(part, window, axes), axes=axes) for part in (x, y))
        terms = ((fx * fy.conj()).real, np.abs(fx) ** 2, np.abs(fy) ** 2)
        sums += [np.bincount(rings.number, rings.weight * term.sum(0).ravel()) for term in terms]
    return sums if found else None


def _apply_window(part: np.ndarray, window: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return blocks without their weighted mean, faded out towards their borders."""
    mean = (part * window).sum(axes, keepdims=True) / window.sum()
    return np.asarray((part - mean) * window)


def _cut_blocks(
    sr: np.ndarray, hr: np.ndarray, keep: np.ndarray, block: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of ``(N, *block)`` float64 blocks without invalid pixels."""
    lead = keep.ndim - len(block)
    starts = [
        np.unique(np.linspace(0, size - n, -(-2 * (size - n) // n) + 1).round().astype(int))
        for size, n in zip(keep.shape[lead:], block, strict=True)
    ]
    most = max(1, _AT_ONCE // int(np.prod(block)))
    for corner in product(*starts):
        window: Any = (..., *(slice(low, low + n) for low, n in zip(corner, block, strict=True)))
        x, y, whole = (image[window].reshape(-1, *block) for image in (sr, hr, keep))
        usable = np.flatnonzero(whole.reshape(len(whole), -1).all(1))
        for first in range(0, len(usable), most):
            some = usable[first : first + most]
            yield x[some].astype(np.float64), y[some].astype(np.float64)


def _divide_sums(sums: np.ndarray, rings: _Rings) -> FourierCorrelation:
    """Return the correlation of the rings between the constant and the limit."""
    count = int(rings.limit / rings.width + 1e-9)
    cross, power_x, power_y = sums[:, 1 : count + 1]
    if not (power_x.sum() > 0 and power_y.sum() > 0):
        raise GridError("Fourier correlation of a constant image is undefined; give one that varies")
    both = np.sqrt(power_x * power_y)
    # rounding alone is not structure
    tiny = 1e-28 * np.sqrt(power_x.sum() * power_y.sum())
    correlation = np.where(both > tiny, cross / np.maximum(both, tiny), 0.0)
    frequency = rings.width * np.arange(1, count + 1)
    return FourierCorrelation(
        tuple(frequency.tolist()), tuple(np.clip(correlation, -1, 1).tolist()), rings.limit
    )
