"""Point-spread functions and slice profiles as the weights of fine pixels that make one coarse pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil, erf, log, pi, sqrt

import numpy as np

from sr_imaging.errors import ConfigError
from sr_imaging.image.pixels.kernels import weigh_cubic

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
    slice, centred in its LR pixel, what a scanner sums along z: ``box``, an ideal slice, and the area mean
    where its thickness is 1; ``slice-gaussian``, whose full width at half maximum is its thickness; ``slr``,
    the smooth flat top that a Shinnar-Le Roux or windowed sinc pulse excites (J. Pauly et al., IEEE TMI 10,
    1991, section II: in the limit of small tip angles the profile is the Fourier transform of the pulse).
    """

    kind: str = "gaussian"  # of PSF_KINDS
    sigma: float = 0.4  # standard deviation of gaussian in LR pixels, sigma * scale HR pixels
    thickness: float = 1.0  # of a slice, by the distance between slices: a gap below 1, overlap above

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
        """Return the Gaussian with which Gaussian and area mean transfer `mtf` at half a cycle per LR pixel.

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
    """Return the HR pixels on each side of a block that its LR pixel sees; 0 at a scale of 1."""
    if scale == 1:
        return 0
    if psf.kind == "gaussian" and scale == int(scale):
        return int(TRUNCATE * psf.sigma * scale + 0.5)
    between = 0 if scale == int(scale) else 3  # the cubic between HR pixels, and a pixel of rounding
    return max(0, ceil(_find_reach(psf, scale) - scale / 2 - 1e-9) + between)


def psf_kernel(psf: Psf, scale: int) -> np.ndarray:
    """Return the weights (scale + 2 * margin,) of the HR pixels that make one LR pixel along one axis, sum 1.

    Symmetric: for ``gaussian`` the sampled Gaussian convolved with a box of `scale` pixels, for slices the
    integral of the profile over each HR pixel.

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
        weights = np.diff(_integrate_profile(psf, scale)(edges))
        weights = (weights + weights[::-1]) / 2
        return np.asarray(weights / weights.sum())
    box = np.full(scale, 1 / scale)
    gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / (psf.sigma * scale)) ** 2)
    return np.asarray(np.convolve(gaussian / gaussian.sum(), box))


def psf_taps(psf: Psf, scale: float, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return indices and weights (n, t) of the HR pixels that make LR pixels anywhere, for any `scale` > 1.

    `centres` (n,) of the LR pixels are indices of HR pixels. Between its pixels the HR image is the cubic of
    Keys, so that LR pixels see one and the same image at whatever fraction of an HR pixel they lie. Indices
    may lie beyond the border; each row of weights sums to 1 and has the LR pixel's centre as its centroid.
    """
    cells = ceil(_find_reach(psf, scale) * CELLS)
    edges = np.arange(-cells, cells + 1) / CELLS
    radius = ceil(_find_reach(psf, scale)) + 3
    centres = np.asarray(centres, dtype=np.float64)
    index = np.rint(centres).astype(np.int64)[:, None] + np.arange(-radius, radius + 1)
    offsets = index - centres[:, None]
    weights = np.zeros(offsets.shape)
    masses = np.diff(_integrate_profile(psf, scale)(edges))
    for low, high, mass in zip(edges[:-1], edges[1:], masses, strict=True):
        weights += mass * weigh_cubic(offsets - (low + high) / 2)
    weights /= weights.sum(1, keepdims=True)
    missing = -(weights * offsets).sum(1, keepdims=True)  # moved by a central difference: rounding alone
    return index, weights + missing * (np.roll(weights, 1, axis=1) - np.roll(weights, -1, axis=1)) / 2


def _find_reach(psf: Psf, scale: float) -> float:
    """Return the HR pixels from the centre of an LR pixel to the end of its profile."""
    width = psf.thickness * scale
    if psf.kind == "gaussian":
        return TRUNCATE * psf.sigma * scale + scale / 2
    return {"box": width / 2, "slice-gaussian": TRUNCATE * width / FWHM, "slr": width}[psf.kind]


def _integrate_profile(psf: Psf, scale: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the integral of a profile from far below its centre up to a distance in HR pixels."""
    width = psf.thickness * scale
    if psf.kind == "box":
        return lambda x: np.clip(x / width + 0.5, 0, 1)
    if psf.kind == "slice-gaussian":
        return lambda x: _integrate_normal(x * FWHM / width)
    if psf.kind == "slr":
        return lambda x: np.interp(x / width, *_integrate_pulse())
    sigma, half = psf.sigma * scale, scale / 2

    def ramp(x: np.ndarray) -> np.ndarray:  # integral of the Gaussian's integral
        return np.asarray(
            x * _integrate_normal(x / sigma) + sigma * np.exp(-0.5 * (x / sigma) ** 2) / sqrt(2 * pi)
        )

    return lambda x: (ramp(x + half) - ramp(x - half)) / scale


def _integrate_normal(x: np.ndarray) -> np.ndarray:
    """Return the integral of the normal distribution."""
    return np.array([0.5 * (1 + erf(value / sqrt(2))) for value in x])


@cache
def _integrate_pulse() -> tuple[np.ndarray, np.ndarray]:
    """Return the integral of the profile of a Hamming-windowed sinc pulse, from -1 to 1 thickness."""
    place = np.linspace(-1, 1, 1025)
    time = (np.arange(512) + 0.5) / 512 - 0.5  # of the pulse, in units of its length
    pulse = np.sinc(TIME_BANDWIDTH * time) * (0.54 + 0.46 * np.cos(2 * pi * time))
    profile = np.cos(2 * pi * TIME_BANDWIDTH * place[:, None] * time) @ pulse
    steps = (profile[1:] + profile[:-1]) / 2
    integral = np.concatenate([[0.0], np.cumsum((steps + steps[::-1]) / 2)])
    return place, integral / integral[-1]
