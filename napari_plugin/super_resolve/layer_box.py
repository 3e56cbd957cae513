"""A box with the image layers of a viewer, which follows what is added, removed, renamed and selected."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["LayerBox"]

_LAYER_EVENTS = ("data", "scale", "units", "axis_labels", "affine", "rotate", "shear", "name")


class LayerBox(QComboBox):
    """The image layers of a viewer.

    `on_change` is called when another layer is chosen, or the chosen one is another image than before.
    """

    def __init__(self, viewer: Any, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._viewer = viewer
        self._on_change = on_change
        self._watched: set[Image] = set()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        events = viewer.layers.events
        self._links = [
            (emitter, self._fill_box) for emitter in (events.inserted, events.removed, events.reordered)
        ]
        self._links.append((viewer.layers.selection.events.active, self._follow_selection))
        for emitter, slot in self._links:
            emitter.connect(slot)
        self.currentIndexChanged.connect(self._report_change)
        self._fill_box()
        self._follow_selection()

    @property
    def layer(self) -> "Image | None":
        """The chosen layer."""
        return self.currentData()

    def choose(self, layer: "Image | None") -> None:
        """Choose a layer, if it is still there."""
        images = self._find_images()[::-1]
        if layer in images:
            self.setCurrentIndex(images.index(layer))

    def disconnect_viewer(self) -> None:
        """Stop following; for a box that goes away before its viewer."""
        for emitter, slot in self._links:
            emitter.disconnect(slot)
        self._watch_layers(set())

    def _find_images(self) -> "list[Image]":
        from napari.layers import Image

        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _fill_box(self, event: Any = None) -> None:
        """Show the layers that there are, top first, and keep the chosen one."""
        chosen = self.layer
        images = self._find_images()[::-1]
        self.blockSignals(True)
        self.clear()
        for layer in images:
            self.addItem(layer.name, layer)
        if chosen in images:
            self.setCurrentIndex(images.index(chosen))
        self.blockSignals(False)
        self._watch_layers(set(images))
        if self.layer != chosen or chosen is None:  # a proxy is not the layer, but equals it
            self._report_change()

    def _watch_layers(self, images: "set[Image]") -> None:
        """Follow the changes of these layers and no others."""
        for layer in self._watched - images:
            for name in _LAYER_EVENTS:
                getattr(layer.events, name).disconnect(self._show_change)
        for layer in images - self._watched:
            for name in _LAYER_EVENTS:
                getattr(layer.events, name).connect(self._show_change)
        self._watched = images

    def _show_change(self, event: Any) -> None:
        """Show a new name; report a change of the chosen layer."""
        for k, layer in enumerate(self._find_images()[::-1]):
            self.setItemText(k, layer.name)
        if event.source == self.layer:
            self._report_change()

    def _follow_selection(self, event: Any = None) -> None:
        """Choose the image layer that is selected in napari."""
        self.choose(self._viewer.layers.selection.active)

    def _report_change(self, index: int = 0) -> None:
        self._on_change()
