"""The layer that a run leaves: its place, its looks, and where it comes from."""

from typing import TYPE_CHECKING, Any

from napari_plugin._copy import as_command, as_python, source_of
from napari_plugin._geometry import refined_placement
from napari_plugin._layers import pixels
from napari_plugin._plan import Plan

if TYPE_CHECKING:
    import xarray as xr
    from napari.layers import Image

__all__ = ["Recipe", "result_layer"]

_LOOKS = ("gamma", "opacity", "blending", "rendering", "attenuation", "iso_threshold", "interpolation3d")
_GREY_LOOKS = ("colormap", "contrast_limits")


class Recipe:
    """What the result layer takes over from its source, noted when the run begins.

    Parameters
    ----------
    layer : napari.layers.Image
        The source.
    plan : Plan
        The run.
    """

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
    """Return the layer of a result.

    Parameters
    ----------
    recipe : Recipe
        What was noted of the source.
    result : DataArray
        Pixels, and the attrs in which super-resolution says how it was made.

    Returns
    -------
    napari.layers.Image
        Exactly over its source. ``metadata["sr_imaging"]`` holds model, hash, version, scale, precision,
        device, history, the source, and the run as Python and as a command.
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
