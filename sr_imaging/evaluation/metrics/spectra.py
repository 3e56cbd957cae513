"""How close the spectra of an estimate are to those of the truth: SAM and ERGAS, over valid pixels."""

from typing import Any

import numpy as np

from sr_imaging.errors import GridError

from .pixels import valid_pixels

__all__ = ["ergas", "sam"]


def sam(sr: Any, hr: Any, *, valid: Any = None, band_axis: int = 0) -> float:
    """Return the mean spectral angle between the band vectors of estimate and truth.

    Parameters
    ----------
    sr, hr : (B, Y, X) array
        Estimate and truth of one shape.
    valid : (B, Y, X) bool array, optional
        A pixel counts where all its bands are valid; by default where all are finite.
    band_axis : int
        Axis of the bands.

    Returns
    -------
    float
        Radians, 0 to π; 0 where the spectra are proportional. A pixel that is zero in all bands of both has
        the angle 0, one that is zero in one of them only π/2: zeros have no direction.

    Raises
    ------
    GridError
        If the shapes differ or no pixel is valid in all bands.

    References
    ----------
    F. Kruse et al., "The spectral image processing system (SIPS)", Remote Sensing of Environment 44, 1993,
    eq. 3. W. Kahan, "How futile are mindless assessments of roundoff in floating-point computation?", 2006,
    "Mangled angles": the formula.
    """
    x, y = _take_spectra(sr, hr, valid, band_axis)
    length_x, length_y = np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0)
    # exact for small angles too, where the arc cosine has lost half of its digits
    apart = np.linalg.norm(x * length_y - y * length_x, axis=0)
    along = np.linalg.norm(x * length_y + y * length_x, axis=0)
    angle = 2 * np.arctan2(apart, along)
    angle[(length_x == 0) != (length_y == 0)] = np.pi / 2
    return float(angle.mean())


def ergas(sr: Any, hr: Any, *, scale: float, valid: Any = None, band_axis: int = 0) -> float:
    """Return the relative dimensionless global error of a synthesis over all bands.

    Parameters
    ----------
    sr, hr, valid, band_axis
        As in :func:`sam`.
    scale : float
        HR pixels per LR pixel along an axis; the geometric mean where the axes differ.

    Returns
    -------
    float
        ``100 / scale * sqrt(mean over bands of (RMSE / mean)²)``, 0 where both are equal. For radiances,
        reflectances and counts; it has no meaning where zero is not the origin (elevation, °C).

    Raises
    ------
    GridError
        If the shapes differ, no pixel is valid in all bands, or the mean of a band is zero.

    References
    ----------
    L. Wald, "Data fusion: definitions and architectures", Presses de l'École des Mines, Paris 2002.
    """
    x, y = _take_spectra(sr, hr, valid, band_axis)
    means = y.mean(axis=1)
    if (means == 0).any():
        raise GridError(
            f"band {int(np.argmax(means == 0)) + 1} has a mean of zero, by which ERGAS divides; leave it out"
        )
    relative = ((x - y) ** 2).mean(axis=1) / means**2
    return float(100 / scale * np.sqrt(relative.mean()))


def _take_spectra(sr: Any, hr: Any, valid: Any, band_axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the band vectors ``(B, N)`` of the pixels that are valid in all bands."""
    keep = np.moveaxis(valid_pixels(sr, hr, valid), band_axis, 0).all(0)
    if not keep.any():
        raise GridError("no pixel is valid in all bands; their spectra cannot be compared")
    x, y = (np.moveaxis(np.asarray(image, dtype=np.float64), band_axis, 0)[:, keep] for image in (sr, hr))
    return x, y
