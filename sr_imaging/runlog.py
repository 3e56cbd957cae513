"""What a training run tells while it runs: a CSV file and a progress bar."""

import csv
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["COLUMNS", "RunLog"]

COLUMNS = (
    "step",
    "phase",
    "loss",
    "pixel",
    "adversarial",
    "feature",
    "discriminator",
    "accuracy_hr",
    "accuracy_sr",
    "gradient_norm",
    "rate",
    "psnr",
    "psnr_cubic",
    "ssim",
    "ssim_cubic",
    "seconds",
    "data_seconds",
)


class RunLog(AbstractContextManager["RunLog"]):
    """Rows of a CSV file and a bar with live numbers.

    Parameters
    ----------
    path : Path
        CSV file; its rows after `step` are dropped, so that a resumed run continues it.
    step : int
        Finished steps.
    steps : int
        Length of the run.
    progress : bool
        Show the bar.
    """

    def __init__(self, path: Path, *, step: int, steps: int, progress: bool) -> None:
        rows = _rows_until(path, step)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", newline="", encoding="utf-8")
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
        self._writer.writerow({key: _short(value) for key, value in row.items() if key in COLUMNS})
        self._file.flush()

    def show(self, row: Mapping[str, Any]) -> None:
        """Move the bar to the step of a row and show its numbers."""
        if "psnr" in row:
            self._gain = f"  PSNR {row['psnr']:.2f} dB ({row['psnr'] - row['psnr_cubic']:+.2f} to cubic)"
        numbers = f"loss {row['loss']:.4f}"
        if "accuracy_hr" in row:
            numbers += f"  D {row['accuracy_hr']:.0%}/{row['accuracy_sr']:.0%}"
        self._bar.update(
            self._task, completed=row["step"], description=row["phase"], numbers=numbers + self._gain
        )


def _short(value: Any) -> Any:
    """Seven digits are enough for a log."""
    return f"{value:.7g}" if isinstance(value, float) else value


def _rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """Rows of a former log up to a step."""
    if step == 0 or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) <= step]
