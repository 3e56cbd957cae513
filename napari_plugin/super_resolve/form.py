"""The parts of the widget *Super-resolve* and how they lie; what they do is in ``widget``."""

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

__all__ = ["Form"]

_LARGEST_TILE = 4096  # LR pixels


class Form(QScrollArea):
    """Boxes, texts and buttons in one column that scrolls; the boxes of layer and model come ready."""

    def __init__(self, layer_box: QWidget, model_box: QWidget) -> None:
        super().__init__()
        self.axes_box = _make_combo({"volume (z, y, x)": True, "stack of images (y, x)": False})
        self.device_box = _make_combo({"auto": "auto", "cpu": "cpu", "cuda": "cuda"})
        self.tile_spin = QSpinBox()
        self.tile_spin.setRange(0, _LARGEST_TILE)
        self.tile_spin.setSingleStep(32)
        self.tile_spin.setSpecialValueText("auto")
        self.tile_spin.setSuffix(" px")
        self.tile_spin.setToolTip("Pixels of a tile along each axis; the result does not depend on it")
        self.lazy_check = QCheckBox("compute only what is shown")
        self.lazy_check.setToolTip("For results larger than the memory: the layer is a dask array")
        self.grid, self.message = _make_label(), _make_label()
        self.message.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.LinksAccessibleByMouse
        )
        self.run_button, self.cancel_button = QPushButton("Super-resolve"), QPushButton("Cancel")
        self.python_button, self.command_button = QPushButton("Python"), QPushButton("Command")
        self.python_button.setToolTip("Copy the run as Python code")
        self.bar = QProgressBar()
        self._rows = self._make_rows({"Layer": layer_box, "Axes": self.axes_box, "Model": model_box})
        self._lay_out()

    def show_axes(self, is_shown: bool) -> None:
        """Show or hide the choice between a volume and a stack of images."""
        self.axes_box.setVisible(is_shown)
        if (label := self._rows.labelForField(self.axes_box)) is not None:
            label.setVisible(is_shown)

    def show_running(self, is_running: bool) -> None:
        """Show what can be pressed during a run, or outside one."""
        self.run_button.setVisible(not is_running)
        self.cancel_button.setVisible(is_running)
        self.cancel_button.setEnabled(is_running)
        self.cancel_button.setText("Cancel")
        self.bar.setVisible(is_running)
        self.bar.setRange(0, 0)  # moves to and fro until the number of tiles is known
        self.bar.setFormat("")

    def _make_rows(self, first: dict[str, QWidget]) -> QFormLayout:
        rows = QFormLayout()
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        others = {"Device": self.device_box, "Tile": self.tile_spin, "Lazy result": self.lazy_check}
        for label, part in {**first, **others}.items():
            rows.addRow(label, part)
        return rows

    def _lay_out(self) -> None:
        inside = QWidget()
        column, copy = QVBoxLayout(inside), QHBoxLayout()
        column.addLayout(self._rows)
        for part in (self.grid, self.message, self.run_button, self.cancel_button, self.bar):
            column.addWidget(part)
        copy.addWidget(QLabel("Copy as"))
        copy.addWidget(self.python_button)
        copy.addWidget(self.command_button)
        column.addLayout(copy)
        column.addStretch(1)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)


def _make_combo(items: dict[str, Any]) -> QComboBox:
    """Return a box of texts and what they stand for."""
    box = QComboBox()
    for text, value in items.items():
        box.addItem(text, value)
    return box


def _make_label() -> QLabel:
    """Return a label whose text wraps."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.RichText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label
