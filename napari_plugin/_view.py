"""Which way is up: a raster whose rows run south is drawn with north up once the view is turned."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["north_is_down", "turn_north_up"]


def north_is_down(viewer: Any, layer: "Image") -> bool:
    """Tell whether a layer's first row, its north, is drawn at the bottom.

    Parameters
    ----------
    viewer : napari.viewer.Viewer or napari.components.ViewerModel
        Its camera.
    layer : napari.layers.Image
        Placed by world coordinates: a raster that is north-up has a negative y scale.
    """
    points_down = str(viewer.camera.orientation2d[0]) == "down"
    return bool(layer.ndim >= 2 and layer.scale[-2] < 0 and points_down)


def turn_north_up(viewer: Any) -> None:
    """Let the vertical axis of a viewer point up, as northings do."""
    viewer.camera.orientation2d = ("up", viewer.camera.orientation2d[1])
