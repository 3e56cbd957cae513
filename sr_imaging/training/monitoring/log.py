"""What a training run reports while it runs: a CSV file, and a progress bar or lines of the log."""

import csv
import logging
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sr_imaging.training.config.run import TrainConfig

__all__ = ["COLUMNS", "RunLog", "announce"]

log = logging.getLogger(__name__)
LINES = 10  # lines of the log in a run without validation
COLUMNS = (
    "step",
    "phase",
    "loss",
    "pixel",
    "structure",
    "divergence",
    "adversarial",
    "feature",
    "perceptual",
    "content",
    "discriminator",
    "penalty",
    "accuracy_hr",
    "accuracy_sr",
    "diversity",
    "gradient_norm",
    "discriminator_norm",
    "overflow",
    "rate",
    "psnr",
    "psnr_cubic",
    "ssim",
    "ssim_cubic",
    "seconds",
    "data_seconds",
)


def announce(config: TrainConfig, *, scans: int, processes: int = 1) -> None:
    """Log what is trained, on how many scans and by how many processes."""
    phases = {"pixel": config.pixel.steps, "adversarial": config.adversarial.steps}
    steps = " and ".join(f"{count} {name}" for name, count in phases.items() if count)
    plural = "" if scans == 1 else "s"
    by = f", {processes} processes" if processes > 1 else ""
    architecture = config.model.architecture
    log.info("training %s: %s, %s steps, %d scan%s%s", config.name, architecture, steps, scans, plural, by)


class RunLog(AbstractContextManager["RunLog"]):
    """Rows of a CSV file, and a bar with live numbers, or without `progress` a line of the log now and then.

    Rows after `step` are dropped, so that a resumed run continues the file. A `silent` one, for all processes
    but the first, writes and shows nothing.
    """

    def __init__(self, path: Path, *, step: int, steps: int, progress: bool, silent: bool = False) -> None:
        rows = [] if silent else _read_rows_until(path, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(os.devnull if silent else path, "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._silent = silent
        progress = progress and not silent
        self._writer = csv.DictWriter(self._file, COLUMNS, restval="")
        self._writer.writeheader()
        self._writer.writerows(rows)
        self._file.flush()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            disable=not progress,
        )
        self._task = self._bar.add_task("train", total=steps, completed=step, numbers="")
        self._gain = ""
        self._steps, self._progress = steps, progress
        self._phase, self._since = "", (step, time.monotonic())  # for the time left, from the present phase

    def __enter__(self) -> "RunLog":
        """Start the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar and close the file."""
        self._bar.stop()
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row to the file."""
        self._writer.writerow({key: _shorten_number(value) for key, value in row.items() if key in COLUMNS})
        self._file.flush()

    def show(self, row: Mapping[str, Any]) -> None:
        """Move the bar to the step of a row and show its numbers, or log them where they are due."""
        if not self._progress:
            self._log_when_due(row)
            return
        if "psnr" in row:
            self._gain = _format_gain(row)
        numbers = f"loss {row['loss']:.4f}"
        if "accuracy_hr" in row:
            numbers += f"  D {row['accuracy_hr']:.0%}/{row['accuracy_sr']:.0%}"
        self._bar.update(
            self._task, completed=row["step"], description=row["phase"], numbers=numbers + self._gain
        )

    def _log_when_due(self, row: Mapping[str, Any]) -> None:
        """Log a validation or another tenth of the run."""
        if self._silent:
            return
        step, steps, now = row["step"], self._steps, time.monotonic()
        if row["phase"] != self._phase:
            self._phase, self._since = row["phase"], (step - 1, now - row["seconds"])
        if "psnr" not in row and step * LINES // steps == (step - 1) * LINES // steps:
            return
        first, began = self._since
        left = timedelta(seconds=round((now - began) / (step - first) * (steps - step)))
        gain = _format_gain(row) if "psnr" in row else ""
        log.info("step %d/%d  %s  loss %.4f%s  %s left", step, steps, row["phase"], row["loss"], gain, left)


def _format_gain(row: Mapping[str, Any]) -> str:
    """Return PSNR of a validation as text, and how far above cubic interpolation it lies."""
    return f"  PSNR {row['psnr']:.2f} dB ({row['psnr'] - row['psnr_cubic']:+.2f} to cubic)"


def _shorten_number(value: Any) -> Any:
    """Return a number with seven digits, enough for a log."""
    return f"{value:.7g}" if isinstance(value, float) else value


def _read_rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """Return the rows of a former log up to a step."""
    if step == 0 or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) <= step]
