"""What one looks at in a training run: TensorBoard, pictures of held-out images, and the curves at the end.

All of it shows the numbers of the log (`sr_imaging.training.monitoring.log`). Without the extra ``train``
there are only numbers, and the log says so.
"""

import csv
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from torch import nn

from sr_imaging.errors import ConfigError
from sr_imaging.evaluation.figures.drawing import Panel, Row, draw
from sr_imaging.io.atomic import whole_output
from sr_imaging.networks import build_generator
from sr_imaging.networks.whole_image import upscale_image

from .validation import HeldOut

__all__ = ["Monitor", "draw_curves"]

log = logging.getLogger(__name__)
PICTURES = 3  # held-out images that are shown
_EVENTS = "events.out.tfevents*"
_TEXT = ("step", "phase")
_PAIRS = {"psnr_cubic": "psnr", "ssim_cubic": "ssim"}  # drawn beside what they are compared with
# title, unit of y, columns and their colours
_CURVES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("held-out PSNR", "dB", {"psnr": "#0b6e4f", "psnr_cubic": "#9a9a9a"}),
    ("held-out SSIM", "", {"ssim": "#0b6e4f", "ssim_cubic": "#9a9a9a"}),
    (
        "terms of the loss",
        "log",
        {
            "pixel": "#1f4e9c",
            "structure": "#5b9bd5",
            "divergence": "#7e57c2",
            "adversarial": "#c0392b",
            "feature": "#e67e22",
            "perceptual": "#b8860b",
            "content": "#8d6e63",
        },
    ),
    ("discriminator: share right", "", {"accuracy_hr": "#1f4e9c", "accuracy_sr": "#c0392b"}),
    ("norm of the gradient", "log", {"gradient_norm": "#1f4e9c", "discriminator_norm": "#c0392b"}),
    ("learning rate of the generator", "log", {"rate": "#1f4e9c"}),
)


class Monitor(AbstractContextManager["Monitor"]):
    """TensorBoard's files and pictures of a run in one folder; `step` 0 removes those of an earlier run."""

    def __init__(self, folder: Path, *, step: int, silent: bool = False) -> None:
        self.folder = folder
        self._writer = None if silent else _open_writer(folder, step)
        self._pictures = not silent

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add the numbers of a step to TensorBoard."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name not in _TEXT:
                part = "validation" if name.startswith(("psnr", "ssim")) else "training"
                self._writer.add_scalar(f"{part}/{name}", value, row["step"])

    def picture(self, step: int, generator: nn.Module, images: Sequence[HeldOut]) -> None:
        """Draw LR, cubic, SR and HR of three of the images, spread over all, named by the finished steps."""
        if not self._pictures:
            return
        training = generator.training
        generator.eval()
        places = np.linspace(0, len(images) - 1, min(PICTURES, len(images))).round().astype(int)
        rows = [_make_row(f"held-out image {k + 1}", images[k], generator) for k in places.tolist()]
        generator.train(training)
        if self._writer is not None:
            for number, row in enumerate(rows):
                size = row.panels[-1].image.shape[:2]
                shown = [_convert_to_rgb(_repeat_pixels(panel.image, size)) for panel in row.panels]
                strip = np.concatenate(shown, axis=1)
                self._writer.add_image(
                    f"held-out/{number + 1}: LR, cubic, SR, HR", strip, step, dataformats="HWC"
                )
        try:
            draw(rows, self.folder / f"step-{step:06d}.png")
        except ConfigError as error:  # no matplotlib
            log.info("no pictures of the run: %s", error)
            self._pictures = False


def _open_writer(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer; None where it is not installed."""
    if step == 0 and folder.is_dir():
        for left in (*folder.glob(_EVENTS), *folder.glob("step-*.png")):
            left.unlink()
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        log.info("no TensorBoard files: it is not installed; pip install 'sr-imaging[train]'")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _make_row(title: str, image: HeldOut, generator: nn.Module) -> Row:
    """Return the pictures of one image, all with the contrast of the truth."""
    cubic = build_generator("cubic", {"scale": image.scale})
    device = next(generator.parameters()).device
    planes = {
        "LR": image.lr[0].numpy(),
        "cubic": upscale_image(cubic, image.lr),
        "SR": upscale_image(generator, image.lr.to(device), guide=image.guide),
        "HR": image.hr,
    }
    low, high = np.percentile(image.hr[image.valid], (0.5, 99.5))
    panels = [Panel(name, _render_plane(values, low, high)) for name, values in planes.items()]
    aspect = planes["HR"].shape[-2] / planes["HR"].shape[-1]
    return Row(title, tuple(panels), (aspect,) * len(panels))


def _render_plane(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return a plane of ``(C, [z,] y, x)`` values as gray or, from three bands on, as colours."""
    if values.ndim == 4:
        values = values[:, values.shape[1] // 2]
    shown = np.clip((values - low) / (high - low), 0, 1)
    return np.moveaxis(shown[:3], 0, -1) if len(shown) >= 3 else shown[0]


def _repeat_pixels(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return a picture with its pixels repeated to a size."""
    rows, cols = (np.arange(n) * have // n for n, have in zip(size, image.shape, strict=False))
    return np.asarray(image[rows][:, cols])


def _convert_to_rgb(image: np.ndarray) -> np.ndarray:
    """Return a gray picture as three equal colours."""
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)


def draw_curves(path: Path, figure: Path, *, title: str) -> None:
    """Draw the curves of a log to a PNG, which is replaced; without matplotlib, log that there is none."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no figure of the curves: it needs matplotlib; pip install 'sr-imaging[train]'")
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    curves = [curve for curve in _CURVES if any(row.get(key) for row in rows for key in curve[2])]
    if not curves:
        log.info("no figure of the curves: %s has no rows", path)
        return
    drawn = Figure(
        figsize=(10, 2.6 * ((len(curves) + 1) // 2)), dpi=120, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(drawn)
    drawn.suptitle(title, fontweight="bold")
    places = drawn.subplots((len(curves) + 1) // 2, 2, squeeze=False).ravel()
    for ax, (name, unit, columns) in zip(places, curves, strict=False):
        _draw_panel(ax, rows, columns, log_scale=unit == "log")
        ax.set_title(name, fontsize=10, loc="left")
        ax.set_ylabel("" if unit == "log" else unit)
    for ax in places[len(curves) :]:
        ax.set_axis_off()
    with whole_output(figure, overwrite=True) as temporary:
        drawn.savefig(temporary, format="png")


def _draw_panel(
    ax: Any, rows: Sequence[Mapping[str, str]], lines: Mapping[str, str], *, log_scale: bool
) -> None:
    """Draw the columns of one panel, and where the adversarial phase begins."""
    for key, colour in lines.items():
        points = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
        points = [(step, value) for step, value in points if value > 0 or not log_scale]
        if points:
            label = "cubic" if key in _PAIRS else "model" if key in _PAIRS.values() else key
            mark = "o" if len(points) < 3 else ""
            ax.plot(
                *zip(*points, strict=True),
                color=colour,
                label=label,
                linewidth=1.2,
                marker=mark,
                markersize=4,
            )
    begun = [int(row["step"]) for row in rows if row["phase"] == "adversarial"]
    if begun and begun[0] > int(rows[0]["step"]):
        ax.axvline(begun[0], color="#555555", linewidth=0.8, linestyle=":")
    if log_scale:
        ax.set_yscale("log")
    if len(lines) > 1:
        ax.legend(fontsize=8, frameon=False)
    ax.set_xlabel("step", fontsize=8)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
