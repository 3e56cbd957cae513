"""Invalid pixels take the value of their nearest valid ones, for inference, training and evaluation alike."""

import numpy as np
from scipy import ndimage

__all__ = ["fill_bands", "fill_nearest", "is_far"]


def is_far(invalid: np.ndarray, reach: int) -> np.ndarray:
    """Tell which pixels of a mask have no valid one within `reach` king's moves."""
    if invalid.all():
        return np.ones_like(invalid)
    distance = ndimage.distance_transform_cdt(invalid, metric="chessboard")
    return np.asarray(distance > reach)


def fill_nearest(image: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """Return the image with each invalid pixel replaced by its nearest valid one, zeros where there is none.

    Nearest counts in king's moves, with a fixed order of ties, so that the value of a pixel depends only on
    pixels up to its own distance away: a tile with that much context fills like the whole image.
    """
    if not invalid.any():
        return image
    if invalid.all():
        return np.zeros_like(image)
    nearest = ndimage.distance_transform_cdt(
        invalid, metric="chessboard", return_distances=False, return_indices=True
    )
    return np.asarray(image[tuple(nearest)])


def fill_bands(bands: np.ndarray) -> np.ndarray:
    """Return (C, *n) floats, each pixel that is not finite replaced by the nearest valid one of its band."""
    return np.stack([fill_nearest(band, ~np.isfinite(band)) for band in bands])
