"""Where the refined layer lies: exactly over its source, whatever turns, shears or flips that one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["refined_placement"]


def refined_placement(layer: "Image", factors: Sequence[float]) -> dict[str, Any]:
    """Return the arguments that place a layer of finer pixels over `layer`.

    The corner of the first pixel does not move. With ``L`` the linear part of rotation, shear and scale, and
    ``s`` the factors, ``scale' = scale / s`` and ``translate' = translate + L · (1/s − 1)/2``; rotation,
    shear and the affine that follow are those of the source.

    Parameters
    ----------
    layer : napari.layers.Image
        The source.
    factors : (ndim,) sequence of float
        Fine pixels per coarse pixel along each data axis.

    Returns
    -------
    dict
        ``scale``, ``translate``, ``rotate``, ``shear``, ``affine``, ``units`` and ``axis_labels``.
    """
    from napari.utils.transforms import Affine

    fine = np.asarray(factors, dtype=np.float64)
    linear = Affine(scale=layer.scale, rotate=layer.rotate, shear=layer.shear).linear_matrix
    return {
        "scale": layer.scale / fine,
        "translate": layer.translate + linear @ ((1 / fine - 1) / 2),
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }
