"""The box of models: bundled ones, interpolations, and files; with what the chosen one is."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_plugin.layers import LayerImage
from napari_plugin.super_resolve.model_judgement import CLASSICAL, any_factor, best_model, card_text
from napari_plugin.super_resolve.preload import preload_torch
from sr_imaging import ModelError, SrImagingError, list_models
from sr_imaging.image.grid.axes import AXES

if TYPE_CHECKING:
    from sr_imaging import ModelCard

__all__ = ["ModelBox"]


_LARGEST_SCALE = 16


class ModelBox(QWidget):
    """Choose a model, and the factors of an interpolation.

    `on_change` is called when another model or factor is chosen, `on_error` with the error of a model file.
    """

    def __init__(self, on_change: Callable[[], None], on_error: Callable[[Exception], None]) -> None:
        super().__init__()
        self._on_change, self._on_error = on_change, on_error
        self._cards: dict[str, ModelCard] = {card.name: card for card in list_models()}
        self._is_chosen = False  # by hand, so that no layer changes it
        self._reader: Any = None
        self.box = QComboBox()
        self.file_button = QPushButton("File …")
        self.file_button.setToolTip("A model file (.safetensors) of your own")
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        self.spins = {axis: QSpinBox() for axis in AXES}
        self._spin_row = QWidget()
        self._lay_out()
        for name in (*self._cards, *CLASSICAL):
            self.box.addItem(name, name)
        if self._cards:
            self.box.insertSeparator(len(self._cards))
        self.box.currentIndexChanged.connect(self._show_facts)
        self.file_button.clicked.connect(self._ask_file)
        self._show_facts()
        self._is_chosen = False

    def _lay_out(self) -> None:
        """Box and button in a row, facts below, then the factors."""
        row, spin_row, column = QHBoxLayout(), QHBoxLayout(self._spin_row), QVBoxLayout(self)
        for layout in (row, spin_row, column):
            layout.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.box, stretch=1)
        row.addWidget(self.file_button)
        for axis, spin in self.spins.items():
            spin.setRange(1, _LARGEST_SCALE)
            spin.setValue(1 if axis == "z" else 2)
            spin.setPrefix(f"{axis} \N{MULTIPLICATION SIGN} ")
            spin.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
            spin.setStyleSheet("min-width: 40px; padding: 1px 6px")  # three of them fit side by side
            spin.setToolTip(f"Fine pixels per coarse pixel along {axis}")
            spin.valueChanged.connect(self._take_factor)
            spin_row.addWidget(spin)
        column.addLayout(row)
        column.addWidget(self.facts)
        column.addWidget(self._spin_row)

    @property
    def model(self) -> str:
        """Name or path of the chosen model."""
        return str(self.box.currentData())

    @property
    def card(self) -> "ModelCard | None":
        """Its card; None for a classical method."""
        return self._cards.get(self.model)

    @property
    def scale(self) -> dict[str, float]:
        """Factors by axis that are asked of what does any factor."""
        return {axis: float(spin.value()) for axis, spin in self.spins.items()}

    def suit(self, image: LayerImage) -> None:
        """Offer what fits a layer, unless the user has chosen."""
        if not self._is_chosen:
            self.box.setCurrentIndex(self.box.findData(best_model(list(self._cards.values()), image)))
            self._is_chosen = False
        for axis, spin in self.spins.items():
            spin.setVisible(axis in image.axes)

    def choose_file(self, path: str) -> None:
        """Read the card of a model file in a thread, and choose it."""
        from napari.qt.threading import create_worker

        def read() -> "tuple[ModelCard | None, SrImagingError | None]":
            preload_torch()
            from sr_imaging import load_model

            try:
                card: Any = load_model(path).card
            except SrImagingError as error:
                return None, error
            return card, None

        self._reader = create_worker(read, _ignore_errors=True, _start_thread=False)
        self._reader.returned.connect(lambda found: self._add_file(path, *found))
        self._reader.errored.connect(self._on_error)
        self._reader.start()

    def _add_file(self, path: str, card: "ModelCard | None", error: Exception | None) -> None:
        if card is None or error is not None:
            self._on_error(error or ModelError(f"{path} has no card; save it with save_model"))
            return
        self._cards[path] = card
        if self.box.findData(path) < 0:
            self.box.addItem(Path(path).name, path)
        self.box.setCurrentIndex(self.box.findData(path))

    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Model file", "", "Models (*.safetensors)")
        if path:
            self.choose_file(path)

    def _take_factor(self, value: int) -> None:
        self._on_change()

    def _show_facts(self, index: int = 0) -> None:
        self._is_chosen = True
        card = self.card
        self.facts.setText("a classical method, by whole factors" if card is None else card_text(card))
        self.facts.setToolTip("" if card is None else _describe_card(card))
        self._spin_row.setVisible(any_factor(card))
        self._on_change()


def _describe_card(card: "ModelCard") -> str:
    """Return what more there is to say of a model, for a tool tip."""
    parts = [card.description, f"trained on {'; '.join(card.data_sources)}" if card.data_sources else ""]
    parts += [f"degradation: {card.degradation}" if card.degradation else "", card.licence]
    return "\n".join(filter(None, parts))
