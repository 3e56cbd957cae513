"""How close an estimate is to the truth: PSNR, SSIM and spectral angle, over valid pixels.

The data range is always stated by the caller: there is no honest default for HU, reflectance or MR units.
"""

from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from .errors import GridError

__all__ = ["data_range", "mse", "psnr", "sam", "ssim"]


def data_range(hr: Any, *, valid: Any = None, percentiles: tuple[float, float] = (0.5, 99.5)) -> float:
    """Return the range that PSNR and SSIM are measured in, robust to a few odd pixels.

    Parameters
    ----------
    hr : array
        The truth, any shape and unit.
    valid : bool array, optional
        Pixels to count; by default the finite ones.
    percentiles : (float, float)
        Lower and upper percentile.

    Returns
    -------
    float
        Distance between the two percentiles, in the unit of `hr`.
    """
    values = np.asarray(hr)[_valid(hr, hr, valid)]
    low, high = np.percentile(values, percentiles)
    return float(high - low)


def mse(sr: Any, hr: Any, *, valid: Any = None) -> float:
    """Return the mean squared error over valid pixels.

    Parameters
    ----------
    sr, hr : array
        Estimate and truth of one shape.
    valid : bool array, optional
        Pixels to count, of a shape that broadcasts; by default those finite in both.

    Returns
    -------
    float
        In squared units of `hr`.

    Raises
    ------
    GridError
        If the shapes differ or no pixel is valid.
    """
    keep = _valid(sr, hr, valid)
    difference = np.asarray(sr, dtype=np.float64)[keep] - np.asarray(hr, dtype=np.float64)[keep]
    return float(np.mean(difference**2))


def psnr(sr: Any, hr: Any, *, data_range: float, valid: Any = None) -> float:
    """Return the peak signal-to-noise ratio over valid pixels.

    Parameters
    ----------
    sr, hr, valid
        As in :func:`mse`.
    data_range : float
        Peak, in the unit of `hr`.

    Returns
    -------
    float
        dB; infinite where both are equal.

    Raises
    ------
    GridError
        As :func:`mse`.
    """
    error = mse(sr, hr, valid=valid)
    return float(10 * np.log10(data_range**2 / error)) if error > 0 else float("inf")


def ssim(sr: Any, hr: Any, *, data_range: float, valid: Any = None, window: int = 7) -> float:
    """Return the mean structural similarity over windows that hold valid pixels only.

    Parameters
    ----------
    sr, hr : (Y, X) or (Z, Y, X) array
        Estimate and truth of one shape; each axis at least `window` long.
    data_range : float
        Range of the values, in the unit of `hr`.
    valid : bool array, optional
        As in :func:`mse`.
    window : int
        Odd side of the uniform window, in pixels.

    Returns
    -------
    float
        1 where both are equal.

    Raises
    ------
    GridError
        If the shapes differ, an axis is shorter than the window, or no window is valid.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13,
    2004, eq. 13.
    """
    keep = _valid(sr, hr, valid)
    if min(keep.shape) < window:
        raise GridError(
            f"an image of shape {keep.shape} is smaller than the SSIM window of {window} pixels; "
            "use a smaller odd window"
        )
    x = np.where(keep, np.asarray(sr, dtype=np.float64), 0)
    y = np.where(keep, np.asarray(hr, dtype=np.float64), 0)
    similarity = _ssim_map(x, y, data_range, window)
    edge = window // 2
    inner = (slice(edge, -edge),) * keep.ndim if edge else (slice(None),) * keep.ndim
    whole = uniform_filter(keep.astype(np.float64), window)[inner] > 1 - 1e-9
    if not whole.any():
        raise GridError(f"no window of {window} pixels is free of nodata; SSIM has nothing to measure")
    return float(similarity[inner][whole].mean())


def _ssim_map(x: np.ndarray, y: np.ndarray, data_range: float, window: int) -> np.ndarray:
    """Local similarity with sample covariances, k1 = 0.01 and k2 = 0.03."""
    pixels = window**x.ndim
    norm = pixels / (pixels - 1)
    mean_x, mean_y = uniform_filter(x, window), uniform_filter(y, window)
    var_x = norm * (uniform_filter(x * x, window) - mean_x**2)
    var_y = norm * (uniform_filter(y * y, window) - mean_y**2)
    both = norm * (uniform_filter(x * y, window) - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return np.asarray(above / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))


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
        Radians; 0 where the spectra are proportional. Pixels that are zero in all bands do not count.

    Raises
    ------
    GridError
        If the shapes differ or no pixel is valid.

    References
    ----------
    F. Kruse et al., "The spectral image processing system (SIPS)", Remote Sensing of Environment 44, 1993.
    """
    keep = np.moveaxis(_valid(sr, hr, valid), band_axis, 0).all(0)
    x = np.moveaxis(np.asarray(sr, dtype=np.float64), band_axis, 0)[:, keep]
    y = np.moveaxis(np.asarray(hr, dtype=np.float64), band_axis, 0)[:, keep]
    lengths = np.linalg.norm(x, axis=0) * np.linalg.norm(y, axis=0)
    if not (lengths > 0).any():
        raise GridError("no pixel is valid in all bands; the spectral angle has nothing to measure")
    cosine = (x * y).sum(0)[lengths > 0] / lengths[lengths > 0]
    return float(np.arccos(np.clip(cosine, -1, 1)).mean())


def _valid(sr: Any, hr: Any, valid: Any) -> np.ndarray:
    """Pixels that count, in the shape of the images."""
    sr, hr = np.asarray(sr), np.asarray(hr)
    if sr.shape != hr.shape:
        raise GridError(
            f"estimate of shape {sr.shape} and truth of shape {hr.shape} differ; align them first"
        )
    keep = np.isfinite(sr) & np.isfinite(hr)
    if valid is not None:
        keep = keep & np.broadcast_to(np.asarray(valid, dtype=bool), hr.shape)
    if not keep.any():
        raise GridError("no pixel is valid in both images; nothing can be measured")
    return np.asarray(keep)
