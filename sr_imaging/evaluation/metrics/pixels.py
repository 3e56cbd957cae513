"""How close an estimate is to the truth: MSE, PSNR, SSIM and multi-scale SSIM, over valid pixels.

The data range is always stated by the caller: there is no honest default for HU, reflectance or MR units.
"""

from typing import Any

import numpy as np
from scipy.ndimage import correlate1d, uniform_filter

from sr_imaging.errors import GridError

__all__ = ["data_range", "ms_ssim", "mse", "psnr", "ssim", "valid_pixels"]

# Wang et al. 2003, sec. 3.2: the exponents of the scales, from fine to coarse
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMA, _RADIUS = 1.5, 5  # pixels: the Gaussian window of Wang et al. 2004, sec. III.C


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
    values = np.asarray(hr)[valid_pixels(hr, hr, valid)]
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
    keep = valid_pixels(sr, hr, valid)
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
    keep = valid_pixels(sr, hr, valid)
    if min(keep.shape) < window:
        raise GridError(
            f"an image of shape {keep.shape} is smaller than the SSIM window of {window} pixels; "
            "use a smaller odd window"
        )
    x = np.where(keep, np.asarray(sr, dtype=np.float64), 0)
    y = np.where(keep, np.asarray(hr, dtype=np.float64), 0)
    similarity = _map_similarity(x, y, data_range, window)
    edge = window // 2
    inner = (slice(edge, -edge),) * keep.ndim if edge else (slice(None),) * keep.ndim
    whole = uniform_filter(keep.astype(np.float64), window)[inner] > 1 - 1e-9
    if not whole.any():
        raise GridError(f"no window of {window} pixels is free of nodata; SSIM has nothing to measure")
    return float(similarity[inner][whole].mean())


def _map_similarity(x: np.ndarray, y: np.ndarray, data_range: float, window: int) -> np.ndarray:
    """Return the similarity of the window at each pixel, with sample covariances, k1 = 0.01, k2 = 0.03."""
    pixels = window**x.ndim
    norm = pixels / (pixels - 1)
    mean_x, mean_y = uniform_filter(x, window), uniform_filter(y, window)
    var_x = norm * (uniform_filter(x * x, window) - mean_x**2)
    var_y = norm * (uniform_filter(y * y, window) - mean_y**2)
    both = norm * (uniform_filter(x * y, window) - mean_x * mean_y)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return np.asarray(above / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))


def ms_ssim(sr: Any, hr: Any, *, data_range: float, valid: Any = None) -> float:
    """Return the multi-scale structural similarity over windows that hold valid pixels only.

    Five scales, each the mean over blocks of 2 pixels of the one before; a block with an invalid pixel is
    invalid. Windows are Gaussian, of 1.5 pixels deviation and 11 pixels side. At the coarsest scale, the
    only one that sees the luminance, the border is mirrored.

    Parameters
    ----------
    sr, hr : (Y, X) or (Z, Y, X) array
        Estimate and truth of one shape; each axis at least 176 long.
    data_range, valid
        As in :func:`ssim`.

    Returns
    -------
    float
        At most 1, where both are equal; 0 where the structures at a scale are opposed on average.

    Raises
    ------
    GridError
        If the shapes differ, an axis is too short, or a scale has no window without invalid pixels.

    References
    ----------
    Z. Wang, E. Simoncelli and A. Bovik, "Multiscale structural similarity for image quality assessment",
    Asilomar Conference on Signals, Systems and Computers, 2003, eq. 7.
    """
    keep = valid_pixels(sr, hr, valid)
    coarsest = 2 ** (len(_SCALES) - 1)
    if min(keep.shape) // coarsest < 2 * _RADIUS + 1:
        raise GridError(
            f"an image of shape {keep.shape} has fewer than {coarsest * (2 * _RADIUS + 1)} pixels along an "
            "axis, too few for five scales; use ssim"
        )
    x = np.where(keep, np.asarray(sr, dtype=np.float64), 0)
    y = np.where(keep, np.asarray(hr, dtype=np.float64), 0)
    product = 1.0
    for number, exponent in enumerate(_SCALES, 1):
        last = number == len(_SCALES)
        product *= max(0.0, _average_term(x, y, keep, data_range, with_luminance=last)) ** exponent
        if not last:
            x, y, keep = _halve(x), _halve(y), _halve(keep) > 1 - 1e-9
    return float(product)


def _average_term(
    x: np.ndarray, y: np.ndarray, keep: np.ndarray, data_range: float, *, with_luminance: bool
) -> float:
    """Return the mean of contrast times structure over the windows of one scale, or of the similarity."""
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x = np.maximum(_smooth(x * x) - mean_x**2, 0)
    var_y = np.maximum(_smooth(y * y) - mean_y**2, 0)
    both = _smooth(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    term = (2 * both + c2) / (var_x + var_y + c2)
    whole = _smooth(keep.astype(np.float64)) > 1 - 1e-9
    if with_luminance:
        term = term * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    else:
        inner = (slice(_RADIUS, -_RADIUS),) * keep.ndim
        term, whole = term[inner], whole[inner]
    if not whole.any():
        raise GridError("a scale has no window without nodata; multi-scale SSIM has nothing to measure")
    return float(term[whole].mean())


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return the Gaussian mean of the window around each pixel, the border mirrored."""
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in range(values.ndim):
        values = correlate1d(values, weights, axis, mode="mirror")
    return values


def _halve(values: np.ndarray) -> np.ndarray:
    """Return means over blocks of 2 pixels along each axis; an odd last pixel is dropped."""
    for axis, size in enumerate(values.shape):
        first, second = (np.take(values, range(k, size // 2 * 2, 2), axis) for k in (0, 1))
        values = (first.astype(np.float64) + second) / 2
    return values


def valid_pixels(sr: Any, hr: Any, valid: Any) -> np.ndarray:
    """Return the bool pixels that are finite in both images and allowed by `valid`, in their shape.

    Raises GridError if the shapes differ or no pixel is valid.
    """
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
