"""What the commands share: consoles, log lines, options, and errors as exit codes."""

import io
import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sr_imaging.errors import CancelledError, ReadError, ResourceError, SrImagingError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "NOTHING_READABLE",
    "AsJson",
    "Device",
    "OnMissing",
    "OnTilt",
    "Quiet",
    "Verbose",
    "print_json",
    "running",
    "start_logging",
    "table",
]

USAGE, NOTHING_READABLE, NO_ROOM, INTERRUPTED = 2, 4, 6, 130
_WIDE = 10_000  # columns where the output is not a terminal: a line stays a line
_LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 and so on.")]
OnMissing = Annotated[
    str, typer.Option(help="DICOM series with missing slices: raise refuses them, resample interpolates.")
]
OnTilt = Annotated[
    str, typer.Option(help="DICOM series with gantry tilt: raise refuses them, resample straightens.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only failures.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="More log lines and tracebacks; -vv for all.")
]


@contextmanager
def running(*, quiet: bool = False, verbose: int = 0) -> "Iterator[tuple[Console, Console]]":
    """Yield the consoles for data (stdout) and all else (stderr), where log lines and errors are shown."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be in the encoding of the stream
            stream.reconfigure(errors="backslashreplace")
    out, err = _make_console(stderr=False), _make_console(stderr=True)
    with _exit_codes(err, verbose), start_logging(err, quiet=quiet, verbose=verbose):
        yield out, err


def _make_console(*, stderr: bool) -> "Console":
    """Return a console that prints names as they are: no mark-up in brackets, no emoji in colons."""
    from rich.console import Console

    width = None if (sys.stderr if stderr else sys.stdout).isatty() else _WIDE
    return Console(stderr=stderr, width=width, soft_wrap=True, highlight=False, markup=False, emoji=False)


def table(*columns: str) -> "Table":
    """Return an empty table with these columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_json(data: Any) -> None:
    """Write data for other programs to stdout."""
    typer.echo(json.dumps(data, indent=2, default=str))


class _LogLines(logging.Handler):
    """Prints log records as lines on stderr, above a progress bar."""

    def __init__(self, console: "Console", level: int) -> None:
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        level = "note" if record.levelno <= logging.INFO else record.levelname.lower()
        self._console.print(f"{level}: {record.getMessage()}", style="dim")


@contextmanager
def start_logging(
    console: "Console", *, quiet: bool, verbose: int, name: str = "sr_imaging"
) -> Iterator[None]:
    """Show the log of the package, or of one module, on a console for as long as a command runs."""
    level = logging.ERROR if quiet else _LEVELS.get(verbose, logging.DEBUG)
    package, handler = logging.getLogger(name), _LogLines(console, level)
    before = package.level, package.propagate
    package.addHandler(handler)
    package.setLevel(min(level, logging.WARNING))
    package.propagate = False
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(before[0])
        package.propagate = before[1]


@contextmanager
def _exit_codes(console: "Console", verbose: int) -> Iterator[None]:
    """Turn an error that ends a command into one line and its exit code."""
    try:
        with _treat_sigterm_as_interrupt():
            yield
    except (KeyboardInterrupt, CancelledError) as error:
        _print_line(console, "interrupted", str(error) or "nothing half-done is left", verbose)
        raise typer.Exit(INTERRUPTED) from None
    except SrImagingError as error:
        _print_line(console, "error", str(error), verbose)
        raise typer.Exit(_choose_exit_code(error)) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _print_line(console, "error", f"{place}{error.strerror or error}; choose another path", verbose)
        raise typer.Exit(USAGE) from error


def _print_line(console: "Console", kind: str, text: str, verbose: int) -> None:
    """Print the line, after the traceback where it was asked for."""
    if verbose:
        import traceback

        console.print(traceback.format_exc(), style="dim")
    console.print(f"{kind}: {text}")


def _choose_exit_code(error: SrImagingError) -> int:
    """Return the exit code of an error that ends a command; what a user can correct counts as usage."""
    if isinstance(error, ResourceError):
        return NO_ROOM
    return NOTHING_READABLE if isinstance(error, ReadError) else USAGE


@contextmanager
def _treat_sigterm_as_interrupt() -> Iterator[None]:
    """Clean up after SIGTERM, which batch systems send, as after Ctrl-C."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not in the main thread: signals are the caller's business
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
