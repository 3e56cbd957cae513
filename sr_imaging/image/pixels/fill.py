"""Invalid pixels take the value of their nearest valid ones."""

import numpy as np
from scipy import ndimage
from scipy.ndimage import distance_transform_edt

__all__ = ["fill_invalid", "fill_nearest", "is_far"]


def is_far(invalid: np.ndarray, reach: int) -> np.ndarray:
    """Tell which pixels of a mask have no valid one within `reach` king's moves."""
    if invalid.all():
        return np.ones_like(invalid)
    distance = ndimage.distance_transform_cdt(invalid, metric="chessboard")
    return np.asarray(distance > reach)


def fill_nearest(image: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """Return an image with each invalid pixel replaced by its nearest valid one.

    Nearest counts in king's moves, with a fixed order of ties, so that the value of a pixel depends only on
    pixels up to its own distance away: a tile with that much context fills like the whole image.

    Parameters
    ----------
    image : (n, …) ndarray
        Values.
    invalid : (n, …) bool ndarray
        Where they are not to be used.

    Returns
    -------
    (n, …) ndarray
        A copy; all zeros where nothing is valid.
    """
    if invalid.all():
        return np.zeros_like(image)
    nearest = ndimage.distance_transform_cdt(
        invalid, metric="chessboard", return_distances=False, return_indices=True
    )
    return np.asarray(image[tuple(nearest)])


def fill_invalid(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Replace invalid pixels by their nearest valid ones."""
    if valid.all() or not valid.any():
        return values
    nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)])
