"""The widget *Super-resolve*: a layer and a model in, a finer layer that lies exactly over it out."""

from functools import partial
from html import escape
from time import monotonic
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QVBoxLayout, QWidget

from napari_plugin.layers import describe
from napari_plugin.north_up import north_is_down, turn_north_up
from napari_plugin.super_resolve.copy_as_code import as_command, as_python
from napari_plugin.super_resolve.form import Form
from napari_plugin.super_resolve.layer_box import LayerBox
from napari_plugin.super_resolve.model_box import ModelBox
from napari_plugin.super_resolve.plan import Plan, Settings, grid_rows, make_plan, size_text
from napari_plugin.super_resolve.result import Recipe, result_layer
from napari_plugin.super_resolve.worker import Outcome, Run
from sr_imaging import SrImagingError

__all__ = ["SuperResolve"]

_TICK_MS = 50  # how often the progress is drawn
_RED, _AMBER = "#e5534b", "#c69026"  # readable on napari's dark and light themes


class SuperResolve(QWidget):
    """Super-resolve an image layer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer; napari gives it.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._was_docked = False  # when the run began
        self._error, self._note = "", ""
        self._runs: list[Run] = []  # none or the one under way
        self.plan: Plan | None = None
        self.model_box = ModelBox(self.refresh, self.show_error)
        self.layer_box = LayerBox(napari_viewer, self.refresh)
        self.form = Form(self.layer_box, self.model_box)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.form)
        self.setMinimumWidth(340)
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self._show_progress)
        self._connect_form()
        self.form.show_running(False)
        self.refresh()

    def _connect_form(self) -> None:
        form = self.form
        for box in (form.axes_box, form.device_box):
            box.currentIndexChanged.connect(self.refresh)
        form.tile_spin.valueChanged.connect(self.refresh)
        form.lazy_check.toggled.connect(self.refresh)
        form.run_button.clicked.connect(self.start)
        form.cancel_button.clicked.connect(self.cancel)
        form.python_button.clicked.connect(partial(self._copy_code, as_python))
        form.command_button.clicked.connect(partial(self._copy_code, as_command))
        form.message.linkActivated.connect(self._turn_view)
        self.destroyed.connect(partial(_disconnect_viewer, self.layer_box, self._runs))

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return bool(self._runs)

    def settings(self) -> Settings:
        """Return what is asked for now."""
        return Settings(
            model=self.model_box.model,
            card=self.model_box.card,
            scale=self.model_box.scale,
            device=str(self.form.device_box.currentData()),
            tile=self.form.tile_spin.value() or None,
            is_lazy=self.form.lazy_check.isChecked(),
        )

    def refresh(self, *_: Any) -> None:
        """Plan anew, after a change; forget the error of the last run."""
        if not hasattr(self, "form"):  # a box that is being filled
            return
        self._error, self._note = "", ""
        layer = self.layer_box.layer
        if layer is None:
            self.plan = None
        else:
            image = describe(layer)
            self.form.show_axes(image.place("z") is not None)
            image = describe(layer, as_volume=bool(self.form.axes_box.currentData()))
            self.model_box.suit(image)
            self.plan = make_plan(image, self.settings())
        self._show_plan()

    def start(self) -> None:
        """Run what is planned, in a thread."""
        self.refresh()
        layer, plan = self.layer_box.layer, self.plan
        if layer is None or plan is None or plan.refusal or self.is_running:
            return
        try:
            recipe = Recipe(layer, plan)
            run = Run(
                layer,
                plan,
                on_outcome=partial(self._add_result, recipe, monotonic()),
                on_error=self.show_error,
                on_finished=self._finish_run,
            )
        except (SrImagingError, ValueError) as error:  # ValueError: two dims of an array under one name
            self.show_error(error)
            return
        self._runs.append(run)
        self._was_docked = not self.isWindow()
        self.form.show_running(True)
        self._timer.start()
        run.start()

    def cancel(self) -> None:
        """Stop after the tile that is under way."""
        for run in self._runs:
            run.cancel()
            self.form.cancel_button.setEnabled(False)
            self.form.cancel_button.setText("Stopping after this tile")

    def show_error(self, error: Exception) -> None:
        """Show an error with its remedy."""
        known = isinstance(error, SrImagingError)
        self._error = str(error) if known else f"{type(error).__name__}: {error}"
        self._show_plan()

    def _add_result(self, recipe: Recipe, began: float, outcome: Outcome) -> None:
        """Add the layer of a result over its source, and stay on the source."""
        if outcome.error is not None:
            self.show_error(outcome.error)
        elif outcome.array is not None:
            chosen = self.layer_box.layer
            layer = self._viewer.add_layer(result_layer(recipe, outcome.array))
            self.layer_box.choose(chosen)
            self.refresh()
            self._note = f"{layer.name} is ready, after {monotonic() - began:.1f} s"
            self._show_plan()

    def _finish_run(self) -> None:
        """Let the button come back, whatever happened."""
        if any(run.is_cancelled for run in self._runs):
            self._note = "cancelled; no layer was added"
        self._runs.clear()
        self._timer.stop()
        self.form.show_running(False)
        self._show_plan()

    def _show_progress(self) -> None:
        """Draw how far the run is, here and in napari's activity dock."""
        if self._was_docked and self.isWindow():  # napari has closed the dock, and the run keeps this alive
            _disconnect_viewer(self.layer_box, self._runs)
        for run in self._runs:
            run.show_progress()
            if run.total:
                left = run.seconds_left()
                self.form.bar.setRange(0, run.total)
                self.form.bar.setValue(run.done)
                self.form.bar.setFormat(
                    "%v of %m tiles" + (f", {left:.0f} s left" if left is not None else "")
                )

    def _show_plan(self) -> None:
        """Write the grids and what there is to say."""
        plan = self.plan
        lines = [f'<span style="color:{_RED}">{escape(self._error)}</span>'] if self._error else []
        if plan is None:
            lines.append("Open or select an image layer.")
        elif plan.refusal:
            lines.append(f'<span style="color:{_RED}">{escape(plan.refusal)}</span>')
        else:
            lines += [f'<span style="color:{_AMBER}">{escape(doubt)}</span>' for doubt in plan.doubts]
        if self._note:
            lines.append(escape(self._note))
        layer = self.layer_box.layer
        if layer is not None and plan is not None and north_is_down(self._viewer, plan.image, layer):
            lines.append('The first row is drawn at the bottom. <a href="turn">Turn the view</a>')
        self.form.grid.setText("" if plan is None else _tabulate_grids(plan))
        self.form.message.setText("<br>".join(lines))
        self.form.message.setVisible(bool(lines))
        self.form.run_button.setEnabled(plan is not None and not plan.refusal)
        self.form.python_button.setEnabled(plan is not None)
        is_file = plan is not None and layer is not None and bool(as_command(plan, layer))
        self.form.command_button.setEnabled(is_file)
        self.form.command_button.setToolTip(
            "Copy the run as a command line" if is_file else "For a layer that this plugin has opened"
        )

    def _copy_code(self, write: Any, *_: Any) -> None:
        """Put a run as text on the clipboard."""
        layer, clipboard = self.layer_box.layer, QApplication.clipboard()
        if layer is not None and self.plan is not None and clipboard is not None:
            clipboard.setText(write(self.plan, layer))

    def _turn_view(self, *_: Any) -> None:
        turn_north_up(self._viewer)
        self.refresh()


def _tabulate_grids(plan: Plan) -> str:
    """Return the grids before and after as HTML, side by side, one row an axis."""
    pad = "padding-right:14px"
    lines = ["<td></td><td colspan=2><i>now</i></td><td colspan=2><i>super-resolved</i></td>"]
    lines += [
        f'<td style="{pad}">{dim}</td>'
        + "".join(f'<td style="{pad};white-space:nowrap">{text}</td>' for text in row)
        for dim, *row in grid_rows(plan)
    ]
    sizes = size_text(plan.image.nbytes), size_text(plan.nbytes)
    lines.append(f"<td></td><td colspan=2>{sizes[0]}</td><td colspan=2>{sizes[1]}</td>")
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _disconnect_viewer(layer_box: LayerBox, runs: list[Run], *_: Any) -> None:
    """Stop what a closed widget has begun."""
    layer_box.disconnect_viewer()
    for run in runs:
        run.cancel()
