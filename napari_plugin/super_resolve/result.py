"""The layer that a run leaves: its place, its looks, and where it comes from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_plugin.layers import pixels
from napari_plugin.super_resolve.copy_as_code import as_command, as_python, source_of
from napari_plugin.super_resolve.plan import Plan

if TYPE_CHECKING:
    import xarray as xr
    from napari.layers import Image

__all__ = ["Recipe", "refined_placement", "result_layer"]

_LOOKS = ("gamma", "opacity", "blending", "rendering", "attenuation", "iso_threshold", "interpolation3d")
_GREY_LOOKS = ("colormap", "contrast_limits")


class Recipe:
    """What the result layer takes over from its source, noted when the run begins."""

    def __init__(self, layer: "Image", plan: Plan) -> None:
        self.has_coords = hasattr(pixels(layer), "coords")
        self.arguments: dict[str, Any] = {
            "name": f"{layer.name} [{plan.settings.model}]",
            "rgb": layer.rgb,
            "multiscale": False,
            **{key: getattr(layer, key) for key in _LOOKS},
            **({} if layer.rgb else {key: getattr(layer, key) for key in _GREY_LOOKS}),
            **refined_placement(layer, plan.factors),
        }
        self.contrast_limits_range = None if layer.rgb else list(layer.contrast_limits_range)
        self.provenance: dict[str, Any] = {
            "source": {"layer": layer.name, **source_of(layer)},
            "python": as_python(plan, layer),
            "command": as_command(plan, layer),
        }


def result_layer(recipe: Recipe, result: "xr.DataArray") -> "Image":
    """Return the layer of a result, exactly over its source.

    ``metadata["sr_imaging"]`` holds model, hash, version, scale, precision, device, history, the source, and
    the run as Python and as a command.
    """
    from napari.layers import Image

    facts = {key[3:]: value for key, value in result.attrs.items() if str(key).startswith("sr_")}
    facts["history"] = str(result.attrs.get("history", ""))
    metadata = {"sr_imaging": {**recipe.provenance, **facts}}
    data = result if recipe.has_coords else result.data
    layer = Image(data, metadata=metadata, **recipe.arguments)
    if recipe.contrast_limits_range is not None:
        layer.contrast_limits_range = recipe.contrast_limits_range
    return layer


def refined_placement(layer: "Image", factors: Sequence[float]) -> dict[str, Any]:
    """Return the arguments that place a layer of finer pixels over `layer`.

    The corner of the first pixel does not move. With ``L`` the linear part of rotation, shear and scale, and
    ``s`` the factors, ``scale' = scale / s`` and ``translate' = translate + L · (1/s − 1)/2``; the rest is
    that of the source. `factors` are fine pixels per coarse pixel along each data axis.
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
