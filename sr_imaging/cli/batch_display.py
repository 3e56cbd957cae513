"""What a person sees of a batch: a bar on a terminal, plain lines elsewhere, one line for each failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from sr_imaging.batch.report import ScanResult
    from sr_imaging.batch.task import Task

__all__ = ["Display", "display"]


class Display:
    """Shows the progress of a batch: a bar for the tiles of the scan in hand, and a line for each end."""

    def __init__(self, console: "Console", bar: "Progress", *, quiet: bool, verbose: int) -> None:
        self._console = console
        self._bar = bar
        self._quiet = quiet
        self._verbose = verbose
        self._tiles = bar.add_task("", total=None, visible=False)
        self._counts: dict[str, str] = {}  # of the scans in hand, by their label

    def started(self, task: "Task", number: int, total: int) -> None:
        """Show the name of the scan beside the bar."""
        self._counts[task.found.label] = count = f"{number}/{total}"
        name = f"{len(self._counts)} scans"
        if len(self._counts) == 1:
            name = f"{count} {task.found.place}"
            self._bar.reset(self._tiles, total=None)
        self._bar.update(self._tiles, visible=task.action == "run", description=name)

    def tiles(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._tiles, completed=done, total=total)

    def ended(self, result: "ScanResult") -> None:
        """Print one line, and from ``verbose=1`` the traceback of a failure; `quiet` leaves failures only."""
        count = self._counts.pop(result.input, "")
        self._bar.update(self._tiles, visible=bool(self._counts))
        if result.status == "failed":
            if self._verbose and result.trace:
                self._console.print(result.trace, style="dim")
            self._console.print(f"FAIL {result.input}: {result.cause}", style="red")
        elif not self._quiet:
            self._console.print(f"{count} {_format_line(result)}")


def _format_line(result: "ScanResult") -> str:
    """Return what became of a scan that did not fail."""
    if result.status == "done":
        model, shape = result.facts["model"], "x".join(map(str, result.facts["fine_shape"]))
        return f"{result.output}  {shape}  {model}  {result.seconds:.1f} s"
    cause = f" ({result.cause})" if result.cause else ""
    return f"{result.output or result.input}  {result.status}{cause}"


@contextmanager
def display(console: "Console", *, quiet: bool, verbose: int) -> Iterator[Display]:
    """Yield a listener whose bar ends with the block, and is silent where there is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    ) as bar:
        yield Display(console, bar, quiet=quiet, verbose=verbose)
