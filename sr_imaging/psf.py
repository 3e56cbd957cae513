"""Point-spread functions and slice profiles as the weights of fine pixels that make one coarse pixel."""

from dataclasses import dataclass

import numpy as np

from .errors import ConfigError

__all__ = ["BOX", "GAUSSIAN", "Psf", "margin", "psf_kernel"]

TRUNCATE = 4.0  # sigmas at which the Gaussian ends, as in scipy.ndimage.gaussian_filter


@dataclass(frozen=True)
class Psf:
    """Point-spread function or slice profile along a degraded axis; followed by the area mean.

    Parameters
    ----------
    kind : str
        ``gaussian``, or ``box`` for the area mean alone: an ideal slice profile without gap.
    sigma : float
        Standard deviation of the Gaussian in LR pixels: ``sigma * scale`` HR pixels. Not used by ``box``.

    Raises
    ------
    ConfigError
        If the kind is unknown or sigma is not positive.
    """

    kind: str = "gaussian"
    sigma: float = 0.4

    def __post_init__(self) -> None:
        if self.kind not in ("gaussian", "box"):
            raise ConfigError(f"unknown psf {self.kind!r}; use 'gaussian' or 'box'")
        if self.kind == "gaussian" and not 0 < self.sigma < 10:
            raise ConfigError(f"psf sigma {self.sigma} LR pixels is not between 0 and 10; 0.4 is usual")


BOX = Psf("box")
GAUSSIAN = Psf()


def margin(psf: Psf, scale: int) -> int:
    """Return the HR pixels on each side of a block that its LR pixel sees."""
    return int(TRUNCATE * psf.sigma * scale + 0.5) if psf.kind == "gaussian" and scale > 1 else 0


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
        Symmetric, sums to 1: the sampled Gaussian convolved with a box of `scale` pixels.

    Examples
    --------
    >>> psf_kernel(BOX, 2)
    array([0.5, 0.5])
    """
    radius = margin(psf, scale)
    box = np.full(scale, 1 / scale)
    if radius == 0:
        return box
    gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / (psf.sigma * scale)) ** 2)
    return np.asarray(np.convolve(gaussian / gaussian.sum(), box))
