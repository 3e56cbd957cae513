"""Which way is up: a raster whose rows run south is drawn with north up once the view is turned."""

from typing import TYPE_CHECKING, Any

from napari_plugin.layers import LayerImage

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["north_is_down", "open_north_up", "turn_north_up"]


def north_is_down(viewer: Any, image: LayerImage, layer: "Image") -> bool:
    """Return whether the first row of a raster, its north, is drawn at the bottom.

    Volumes are left alone: they lie in the patient, whose back is drawn at the bottom. A raster that is
    north-up has a negative y scale.
    """
    points_down = str(_find_camera(viewer).orientation2d[0]) == "down"
    return bool(image.place("z") is None and layer.scale[-2] < 0 and points_down)


def turn_north_up(viewer: Any) -> None:
    """Let the vertical axis of a viewer point up, as northings do."""
    camera = _find_camera(viewer)
    camera.orientation2d = ("up", camera.orientation2d[1])


def open_north_up() -> None:
    """Let north point up in an open viewer that shows nothing yet, before a raster comes into it."""
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is not None and not len(viewer.layers):
        turn_north_up(viewer)


def _find_camera(viewer: Any) -> Any:
    """Return the camera, which moved from the viewer to its scene in napari 0.9."""
    return getattr(viewer, "scene", viewer).camera
