"""Point-spread functions and slice profiles as the weights of fine pixels that make one coarse pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil, erf, log, pi, sqrt

import numpy as np

from sr_imaging.errors import ConfigError

__all__ = ["BOX", "GAUSSIAN", "PSF_KINDS", "Psf", "margin", "psf_kernel", "psf_taps"]

PSF_KINDS = ("gaussian", "box", "slice-gaussian", "slr")
TRUNCATE = 4.0  # sigmas at which a Gaussian ends, as in scipy.ndimage.gaussian_filter
FWHM = sqrt(8 * log(2))  # full width at half maximum of a Gaussian, in sigmas
BOX_AT_NYQUIST = 2 / pi  # transfer of the area mean at half a cycle per pixel
TIME_BANDWIDTH = 6  # of the radio-frequency pulse: lobes of its sinc, a usual number for imaging
CELLS = 4  # parts of a fine pixel in which a profile is integrated where a factor is not whole


@dataclass(frozen=True)
class Psf:
    """Point-spread function or slice profile along a degraded axis.

    ``gaussian`` is an optical blur, followed by the area mean over the LR pixel. The others are profiles of a
    slice, centred in its LR pixel: what a scanner sums along z.

    Parameters
    ----------
    kind : str
        ``gaussian``; ``box``, an ideal slice, and the area mean where its thickness is 1; ``slice-gaussian``,
        a slice whose full width at half maximum is its thickness; ``slr``, the smooth flat top that a
        Shinnar-Le Roux or windowed sinc pulse excites.
    sigma : float
        Standard deviation of ``gaussian`` in LR pixels: ``sigma * scale`` HR pixels. Not used by slices.
    thickness : float
        Of a slice, as a fraction of the distance between slices: below 1 leaves a gap, above 1 overlaps.

    Raises
    ------
    ConfigError
        If the kind is unknown, or sigma or thickness is out of range.

    References
    ----------
    J. Pauly, P. Le Roux, D. Nishimura, A. Macovski, "Parameter relations for the Shinnar-Le Roux selective
    excitation pulse design algorithm", IEEE TMI 10, 1991, section II: in the limit of small tip angles the
    profile is the Fourier transform of the pulse.
    """

    kind: str = "gaussian"
    sigma: float = 0.4
    thickness: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in PSF_KINDS:
            raise ConfigError(f"unknown psf {self.kind!r}; use one of {', '.join(PSF_KINDS)}")
        if self.kind == "gaussian" and not 0 < self.sigma < 10:
            raise ConfigError(f"psf sigma {self.sigma} LR pixels is not between 0 and 10; 0.4 is usual")
        if self.kind != "gaussian" and not 0 < self.thickness < 10:
            raise ConfigError(
                f"psf thickness {self.thickness} of the slice distance is not between 0 and 10; give for "
                "example 0.8 for a gap of a fifth"
            )

    @classmethod
    def from_fwhm(cls, fwhm: float) -> "Psf":
        """Return the Gaussian of a full width at half maximum in LR pixels."""
        return cls(sigma=fwhm / FWHM)

    @classmethod
    def from_mtf(cls, mtf: float) -> "Psf":
        """Return the Gaussian with which Gaussian and area mean transfer `mtf` at the Nyquist frequency.

        Parameters
        ----------
        mtf : float
            Modulation transfer of the whole LR instrument at half a cycle per LR pixel, between 0 and 0.6366,
            that of the area mean alone.

        Raises
        ------
        ConfigError
            If it is not in that range.

        Examples
        --------
        >>> round(Psf.from_mtf(0.289).sigma, 3)
        0.4
        """
        if not 0 < mtf < BOX_AT_NYQUIST:
            raise ConfigError(
                f"mtf {mtf} at the Nyquist frequency is not between 0 and {BOX_AT_NYQUIST:.4f}, that of the "
                "area mean alone; give for example 0.3"
            )
        return cls(sigma=sqrt(-2 * log(mtf / BOX_AT_NYQUIST)) / pi)


BOX = Psf("box")
GAUSSIAN = Psf()


def margin(psf: Psf, scale: float) -> int:
    """Return the HR pixels on each side of a block that its LR pixel sees.

    Parameters
    ----------
    psf : Psf
        Point-spread function.
    scale : float
        HR pixels per LR pixel, >= 1; an axis of scale 1 has no point-spread function.
    """
    if scale == 1:
        return 0
    if psf.kind == "gaussian" and scale == int(scale):
        return int(TRUNCATE * psf.sigma * scale + 0.5)
    between = 0 if scale == int(scale) else 3  # the cubic between HR pixels, and a pixel of rounding
    return max(0, ceil(_reach(psf, scale) - scale / 2 - 1e-9) + between)


def psf_kernel(psf: Psf, scale: int) -> np.ndarray:
    """Return the weights of the HR pixels that make one LR pixel, along one axis.

    Parameters
    ----------
    psf : Psf
        Point-spread function; an axis of scale 1 has none.
    scale : int
        HR pixels per LR pixel, >= 1.

    Returns
    -------
    (scale + 2 * margin,) float64 ndarray
        Symmetric, sums to 1: for ``gaussian`` the sampled Gaussian convolved with a box of `scale` pixels,
        for slices the integral of the profile over each HR pixel.

    Examples
    --------
    >>> psf_kernel(BOX, 2)
    array([0.5, 0.5])
    >>> psf_kernel(Psf("box", thickness=0.5), 4)
    array([0. , 0.5, 0.5, 0. ])
    """
    radius = margin(psf, scale)
    if scale == 1:
        return np.ones(1)
    if psf.kind != "gaussian":
        edges = np.arange(-radius, scale + radius + 1) - scale / 2
        weights = np.diff(_integral(psf, scale)(edges))
        weights = (weights + weights[::-1]) / 2
        return np.asarray(weights / weights.sum())
    box = np.full(scale, 1 / scale)
    gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / (psf.sigma * scale)) ** 2)
    return np.asarray(np.convolve(gaussian / gaussian.sum(), box))


def psf_taps(psf: Psf, scale: float, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the HR pixels that make LR pixels anywhere, and their weights: for factors that are not whole.

    Between its pixels the HR image is the cubic of Keys, so that LR pixels see one and the same image at
    whatever fraction of an HR pixel they lie.

    Parameters
    ----------
    psf : Psf
        Point-spread function.
    scale : float
        HR pixels per LR pixel, > 1.
    centres : (n,) float ndarray
        Centres of the LR pixels as indices of HR pixels.

    Returns
    -------
    (n, t) int ndarray, (n, t) float64 ndarray
        Indices, which may lie beyond the border, and weights; each row sums to 1 and has the LR pixel's
        centre as its centroid.

    References
    ----------
    R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29, 1981, eq. 15.
    """
    cells = ceil(_reach(psf, scale) * CELLS)
    edges = np.arange(-cells, cells + 1) / CELLS
    radius = ceil(_reach(psf, scale)) + 3
    centres = np.asarray(centres, dtype=np.float64)
    index = np.rint(centres).astype(np.int64)[:, None] + np.arange(-radius, radius + 1)
    offsets = index - centres[:, None]
    weights = np.zeros(offsets.shape)
    for low, high, mass in zip(edges[:-1], edges[1:], np.diff(_integral(psf, scale)(edges)), strict=True):
        weights += mass * _keys(offsets - (low + high) / 2)
    weights /= weights.sum(1, keepdims=True)
    missing = -(weights * offsets).sum(1, keepdims=True)  # moved by a central difference: rounding alone
    return index, weights + missing * (np.roll(weights, 1, axis=1) - np.roll(weights, -1, axis=1)) / 2


def _reach(psf: Psf, scale: float) -> float:
    """HR pixels from the centre of an LR pixel to the end of its profile."""
    width = psf.thickness * scale
    if psf.kind == "gaussian":
        return TRUNCATE * psf.sigma * scale + scale / 2
    return {"box": width / 2, "slice-gaussian": TRUNCATE * width / FWHM, "slr": width}[psf.kind]


def _integral(psf: Psf, scale: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the integral of a profile from far below its centre up to a distance in HR pixels."""
    width = psf.thickness * scale
    if psf.kind == "box":
        return lambda x: np.clip(x / width + 0.5, 0, 1)
    if psf.kind == "slice-gaussian":
        return lambda x: _normal(x * FWHM / width)
    if psf.kind == "slr":
        return lambda x: np.interp(x / width, *_pulse_integral())
    sigma, half = psf.sigma * scale, scale / 2

    def ramp(x: np.ndarray) -> np.ndarray:  # integral of the Gaussian's integral
        return np.asarray(x * _normal(x / sigma) + sigma * np.exp(-0.5 * (x / sigma) ** 2) / sqrt(2 * pi))

    return lambda x: (ramp(x + half) - ramp(x - half)) / scale


def _normal(x: np.ndarray) -> np.ndarray:
    """Return the integral of the normal distribution."""
    return np.array([0.5 * (1 + erf(value / sqrt(2))) for value in x])


@cache
def _pulse_integral() -> tuple[np.ndarray, np.ndarray]:
    """Integral of the profile of a Hamming-windowed sinc pulse, from -1 to 1 thickness."""
    place = np.linspace(-1, 1, 1025)
    time = (np.arange(512) + 0.5) / 512 - 0.5  # of the pulse, in units of its length
    pulse = np.sinc(TIME_BANDWIDTH * time) * (0.54 + 0.46 * np.cos(2 * pi * time))
    profile = np.cos(2 * pi * TIME_BANDWIDTH * place[:, None] * time) @ pulse
    steps = (profile[1:] + profile[:-1]) / 2
    integral = np.concatenate([[0.0], np.cumsum((steps + steps[::-1]) / 2)])
    return place, integral / integral[-1]


def _keys(t: np.ndarray) -> np.ndarray:
    """Return the cubic of Keys (1981), a = -0.5, at distances in HR pixels."""
    t = np.abs(t)
    inner = 1.5 * t**3 - 2.5 * t**2 + 1
    outer = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0.0))
