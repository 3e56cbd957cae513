"""One scan of a batch from reading to writing; a failure stays with it."""

import logging
import struct
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil, prod
from threading import Event
from typing import Any

import xarray as xr

from sr_imaging.errors import CancelledError, SrImagingError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.inference.tiling.cluster import current_client
from sr_imaging.inference.upscaling import super_resolve
from sr_imaging.io import read, write

from .inputs import drop_label, find_one_scan
from .journal import Journal
from .report import ScanResult
from .task import BatchOptions, Task

__all__ = ["FAILURES", "cause_of", "record", "work_on"]

Progress = Callable[[int, int], None]

# What one scan may raise without stopping the others: our own errors, and those of the libraries below us,
# which odd data leads astray, and which files and memory fail.
_ASTRAY = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_FAILED = (EOFError, ImportError, MemoryError, OSError, struct.error, zlib.error)
FAILURES = (SrImagingError, *_ASTRAY, *_FAILED)

_BLOCKS_PER_THREAD = 3  # of a cluster: the last ones to be done then wait for little
_MULTIPLE = 256  # LR pixels: a block of the result is a whole number of tiles of its file

log = logging.getLogger(__name__)


def work_on(
    task: Task, result: ScanResult, options: BatchOptions, model: Any, tiles: Progress
) -> dict[str, str] | None:
    """Bring one scan to its end; return what its finished output was made from, None for one unfinished.

    Status, cause, trace, warnings and seconds are filled into `result`; `tiles` is called from any thread.
    """
    stop, hashes = Event(), None  # threads may still compute tiles of a scan that is given up
    began = time.perf_counter()
    with _collect_warnings(result):
        try:
            hashes = _make_output(task, options, model, _make_stoppable(tiles, stop))
            result.status = "done"
        except KeyboardInterrupt:
            stop.set()
            result.status = "interrupted"
        except FAILURES as error:
            stop.set()
            result.status = "failed"
            private = task.found.scan.kind == "dicom"
            result.cause = cause_of(error, task.found.label, private=private)
            result.trace = _format_trace_without_texts(error) if private else traceback.format_exc()
    result.seconds = round(time.perf_counter() - began, 3)
    return hashes


def record(journal: Journal, task: Task, result: ScanResult, hashes: dict[str, str]) -> None:
    """Add a finished scan to the journal; one that cannot be written is only warned of."""
    with _collect_warnings(result):
        try:
            if task.output is not None:
                journal.add(task.output, hashes)
        except OSError as error:
            log.warning("%s is done, but --resume will do it again: %s", task.output, error)


def _make_output(task: Task, options: BatchOptions, model: Any, progress: Progress) -> dict[str, str]:
    """Read, super-resolve and write; return what the result was made from."""
    scan = task.found.scan
    if task.output is None:
        raise SrImagingError(f"{task.found.label} has no output; plan it with plan_batch")
    hashes = task.hashes()
    da = _split_for_cluster(read(scan, masked=task.format == "parametric-map"))  # which keeps the floats
    guide: Any = None if options.guide is None else read(find_one_scan(options.guide))
    finer = super_resolve(da, replace(options, model=model, guide=guide), progress)
    write(
        finer,
        task.output,
        source=scan if scan.kind == "dicom" else None,
        format=task.format,
        overwrite=options.existing == "overwrite",
        deidentify=options.deidentify,
    )
    return hashes


def _split_for_cluster(da: xr.DataArray) -> xr.DataArray:
    """Return a lazy array in enough blocks to keep a cluster busy, where one is connected."""
    client = current_client()
    if client is None or da.chunks is None:
        return da
    wanted = _BLOCKS_PER_THREAD * sum(client.nthreads().values())
    have = prod(len(lengths) for lengths in da.chunks)
    if have >= wanted:
        return da
    dims = [dim for axis, dim in spatial_dims(da).items() if axis in "yx"]
    parts = (wanted / have) ** (1 / len(dims))
    largest = {dim: max(da.chunksizes[dim]) for dim in dims}
    return da.chunk({dim: _MULTIPLE * ceil(n / parts / _MULTIPLE) for dim, n in largest.items()})


def _make_stoppable(tiles: Progress, stop: Event) -> Progress:
    """Return `tiles`, which raises CancelledError in the threads of a scan that is given up."""

    def step(done: int, total: int) -> None:
        if stop.is_set():
            raise CancelledError("the run was stopped; start it again with --resume")
        tiles(done, total)

    return step


def cause_of(error: BaseException, label: str, *, private: bool = False) -> str:
    """Return one line on an error; one that is not ours is named, since it was not foreseen.

    A library may quote values of a header in its errors; `private` leaves its text out.
    """
    if isinstance(error, SrImagingError):
        return drop_label(str(error), label)
    if private:
        return f"{type(error).__name__}; see the traceback with -v and report it if the scan is sound"
    lines = str(error).splitlines()  # pydicom puts whole tracebacks into its messages
    text = lines[0] if lines else "no message"
    return f"{type(error).__name__}: {text}; see the traceback with -v and report it if the scan is sound"


def _format_trace_without_texts(error: BaseException) -> str:
    """Return a traceback with the texts of our own errors alone, the first cause first."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        text = f": {link}" if isinstance(link, SrImagingError) else ""
        lines = "".join(traceback.format_tb(link.__traceback__))
        parts.insert(0, f"Traceback (most recent call last):\n{lines}{type(link).__name__}{text}\n")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\n".join(parts)


@contextmanager
def _collect_warnings(result: ScanResult) -> Iterator[None]:
    """Add what is warned of while a scan is worked on to its result."""
    handler = _WarningCollector(result.warnings)
    package = logging.getLogger("sr_imaging")
    package.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            yield
        for warning in caught:
            level = logging.WARNING if warning.category is UserWarning else logging.DEBUG
            log.log(level, "%s: %s", result.input, warning.message)
    finally:
        package.removeHandler(handler)


class _WarningCollector(logging.Handler):
    """Collects warnings as text."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message once."""
        if (text := record.getMessage()) not in self._notes:
            self._notes.append(text)
