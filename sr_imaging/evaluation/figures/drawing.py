"""Rows of pictures and curves in one PNG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sr_imaging.errors import ConfigError
from sr_imaging.io.atomic import whole_output

__all__ = ["Panel", "Plot", "Row", "check_matplotlib", "draw"]

_INCHES = 2.35  # side of a panel
_COLOURS = ("#7f7f7f", "#d62728", "#1f77b4", "#2ca02c")


@dataclass(frozen=True)
class Panel:
    """One picture of a row."""

    label: str  # words above it
    image: np.ndarray  # (M, N) or (M, N, 3) float, 0 to 1, first row on top
    box: tuple[float, float, float, float] | None = None  # frame: left, top, width, height as fractions


@dataclass(frozen=True)
class Plot:
    """Curves between 0 and 1."""

    label: str  # words above it
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]  # places and values by name
    along: str  # words under the axis
    level: float  # of a dashed line that marks a threshold


@dataclass(frozen=True)
class Row:
    """The pictures of one scan."""

    title: str  # empty in a row that goes on with the scan above
    panels: tuple[Panel, ...]
    aspects: tuple[float, ...]  # height over width of each panel in the world
    plot: Plot | None = None  # left of the panels, as wide as two

    @property
    def first(self) -> int:
        """Return the column of the first panel."""
        return 0 if self.plot is None else 2


def check_matplotlib() -> None:
    """Raise ConfigError where no picture can be drawn."""
    if find_spec("matplotlib") is None:
        raise ConfigError("pictures need matplotlib; pip install 'sr-imaging[samples]'")


def draw(rows: Sequence[Row], path: Path) -> Path:
    """Draw rows of pictures, from top to bottom, as a PNG that replaces an earlier one; return its path."""
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(row.first + len(row.panels) for row in rows)
    heights = [_INCHES * _relative_height(row) + _head_inches(row) + 0.06 for row in rows]
    figure = Figure(figsize=(_INCHES * columns, sum(heights)), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)
    for part, row, height in zip(parts[:, 0], rows, heights, strict=True):
        _draw_row(part, row, columns, height)
    with whole_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _relative_height(row: Row) -> float:
    """Return the height of a row over the width of a panel; the first picture, the whole, is made to fit."""
    return min(1.0, max(row.aspects[1:] if row.plot is None else row.aspects))


def _head_inches(row: Row) -> float:
    """Return the inches above the pictures of a row."""
    return 0.46 if row.title else 0.24


def _draw_row(part: Any, row: Row, columns: int, height: float) -> None:
    """Draw one row into its part of the figure."""
    part.text(0.012, 1 - 0.06 / height, row.title, va="top", ha="left", fontsize=11, fontweight="bold")
    edges = {"left": 0.01, "right": 0.99, "top": 1 - _head_inches(row) / height, "bottom": 0.06 / height}
    grid = part.add_gridspec(1, columns, wspace=0.05, **edges)
    if row.plot is not None:
        _draw_plot(part.add_subplot(grid[0, : row.first]), row.plot)
    for column, (panel, aspect) in enumerate(zip(row.panels, row.aspects, strict=True), row.first):
        _draw_panel(part.add_subplot(grid[0, column]), panel, aspect)


def _draw_panel(ax: Any, panel: Panel, aspect: float) -> None:
    """Draw one picture."""
    ax.set_axis_off()
    ax.set_anchor("N")
    shown = {"cmap": "gray", "vmin": 0, "vmax": 1} if panel.image.ndim == 2 else {}
    rows, wide = panel.image.shape[:2]
    ax.imshow(panel.image, interpolation="nearest", aspect=aspect * wide / rows, **shown)
    ax.set_title(panel.label, fontsize=9, pad=3)
    if panel.box is not None:
        left, up, width, tall = panel.box
        _draw_frame(ax, (left * wide - 0.5, up * rows - 0.5), width * wide, tall * rows)


def _draw_plot(ax: Any, plot: Plot) -> None:
    """Draw curves, with the numbers of both axes inside the space of their columns."""
    left, bottom, width, height = ax.get_position().bounds
    ax.set_position((left + 0.09 * width, bottom + 0.2 * height, 0.86 * width, 0.8 * height))
    for number, (name, (places, values)) in enumerate(plot.curves.items()):
        ax.plot(places, values, label=name, color=_COLOURS[number % len(_COLOURS)], linewidth=1.5)
    ax.axhline(plot.level, color="#666666", linewidth=0.8, linestyle="--")
    ax.set_xlim(left=0)
    ax.set_ylim(min(0.0, *(min(values) for _, values in plot.curves.values())), 1.02)
    ax.set_title(plot.label, fontsize=9, pad=3)
    ax.set_xlabel(plot.along, fontsize=8, labelpad=1)
    ax.tick_params(labelsize=7, length=2, pad=2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False, loc="upper right", handlelength=1.2, borderaxespad=0)


def _draw_frame(ax: Any, corner: tuple[float, float], width: float, height: float) -> None:
    """Frame the crop."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="#ff3b30", linewidth=1.4))
