"""Many scans: plan, run, resume, report. A scan that fails stays with its failure, and the run goes on."""

import logging
import struct
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Protocol

from .batch_inputs import Found, find_inputs, shown_cause
from .batch_names import FORMATS
from .batch_plan import Plan, plan_batch, size_text
from .batch_record import Journal, RunReport, ScanResult
from .batch_task import IF_EXISTS, BatchOptions, Task, steps_text
from .errors import CancelledError, SrImagingError
from .infer import upscale
from .io import read, write
from .io.check import Check, check_scans
from .io.dicom_patient import patient_of

__all__ = [
    "FORMATS",
    "IF_EXISTS",
    "BatchOptions",
    "Check",
    "Found",
    "Listener",
    "Plan",
    "RunReport",
    "ScanResult",
    "Task",
    "check_scans",
    "find_inputs",
    "patient_of",
    "plan_batch",
    "run_batch",
    "shown_cause",
    "size_text",
    "steps_text",
]

# What one scan may raise without stopping the others: our own errors, and those of the libraries below us.
FAILURES = (
    SrImagingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who wants to see a batch go on."""

    def started(self, task: Task, number: int, total: int) -> None:
        """A scan begins, the `number`-th of `total`."""

    def tiles(self, done: int, total: int) -> None:
        """A tile of it is done; called from any thread."""

    def ended(self, result: ScanResult) -> None:
        """It has ended, one way or another."""


@dataclass
class _Stop:
    """Asks the threads that still compute tiles of an abandoned scan to stop."""

    asked: bool = False


class _Silent:
    """A listener that does nothing."""

    def started(self, task: Task, number: int, total: int) -> None:
        """Do nothing."""

    def tiles(self, done: int, total: int) -> None:
        """Do nothing."""

    def ended(self, result: ScanResult) -> None:
        """Do nothing."""


def run_batch(plan: Plan, *, listener: Listener | None = None) -> RunReport:
    """Do what a plan says.

    Parameters
    ----------
    plan : Plan
        From :func:`plan_batch`.
    listener : Listener, optional
        Told of every start, tile and end.

    Returns
    -------
    RunReport
        Also after an interrupt (``KeyboardInterrupt``): the scan in hand leaves nothing behind, the ones
        after it are ``not started``.

    Raises
    ------
    ConfigError
        If outputs exist and the options do not say what becomes of them.
    ResourceError
        If the disk is too small for the plan, or the memory for every scan of it.
    """
    plan.check()
    tell = listener or _Silent()
    results = [_blank(task) for task in plan.tasks]
    journal = Journal(plan.folder)
    began, now = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    interrupted = False
    try:
        for number, (task, result) in enumerate(zip(plan.tasks, results, strict=True), start=1):
            tell.started(task, number, len(results))
            interrupted = _settle(task, result, plan, journal, tell)
            tell.ended(result)
            if interrupted or (result.status == "failed" and plan.options.fail_fast):
                break
    except KeyboardInterrupt:
        interrupted = True
    return RunReport(results, asdict(plan.options), now, time.perf_counter() - began, interrupted)


def _blank(task: Task) -> ScanResult:
    """The result of a scan that has not begun."""
    return ScanResult(task.found.label, "" if task.output is None else str(task.output), facts=task.facts())


def _settle(task: Task, result: ScanResult, plan: Plan, journal: Journal, tell: Listener) -> bool:
    """Bring one scan to its end; return True if the run was interrupted meanwhile."""
    if task.action != "run":
        status = {"fail": "failed", "skip": "skipped"}
        result.status, result.cause = status.get(task.action, task.action), task.cause
        return False
    stop = _Stop()
    began = time.perf_counter()
    with _noted(result):
        try:
            _upscale(task, plan, journal, _stoppable(tell.tiles, stop))
            result.status = "done"
        except KeyboardInterrupt:
            stop.asked, result.status = True, "interrupted"
        except FAILURES as error:
            stop.asked, result.status = True, "failed"
            result.cause, result.trace = _cause(error, task), traceback.format_exc()
    result.seconds = round(time.perf_counter() - began, 3)
    return result.status == "interrupted"


def _upscale(task: Task, plan: Plan, journal: Journal, progress: Callable[[int, int], None]) -> None:
    """Read, super-resolve, write, and write down that it is finished."""
    options, scan = plan.options, task.found.scan
    if task.output is None:
        raise SrImagingError(f"{task.found.label} has no output; plan it with plan_batch")
    hashes = task.hashes()
    finer = upscale(
        read(scan, masked=task.format == "parametric-map"),  # which keeps the floats
        task.generator if plan.model == "auto" else plan.model,
        scale=options.scale,
        spacing=options.spacing,
        device=options.device,
        precision=options.precision,
        tile=options.tile,
        max_memory=options.max_memory,
        seed=options.seed,
        progress=progress,
    )
    write(
        finer,
        task.output,
        source=scan if scan.kind == "dicom" else None,
        format=task.format,
        overwrite=options.existing == "overwrite",
        deidentify=options.deidentify,
    )
    try:
        journal.add(task.output, hashes)
    except OSError as error:
        log.warning("%s is done, but --resume will do it again: %s", task.output, error)


def _stoppable(tell: Callable[[int, int], None], stop: _Stop) -> Callable[[int, int], None]:
    """Pass progress on until a stop is asked for."""

    def step(done: int, total: int) -> None:
        if stop.asked:
            raise CancelledError("the run was stopped; start it again with --resume")
        tell(done, total)

    return step


def _cause(error: BaseException, task: Task) -> str:
    """One line; an error that is not ours is named, since it was not foreseen."""
    if isinstance(error, SrImagingError):
        return shown_cause(str(error), task.found.label)
    text = next(
        iter(str(error).splitlines()), "no message"
    )  # pydicom puts whole tracebacks into its messages
    return f"{type(error).__name__}: {text}; see the traceback with -v and report it if the scan is sound"


@contextmanager
def _noted(result: ScanResult) -> Iterator[None]:
    """Keep what is warned of while a scan is worked on."""
    handler = _Notes(result.warnings)
    package = logging.getLogger(__package__)
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


class _Notes(logging.Handler):
    """Collects warnings as text."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message once."""
        if (text := record.getMessage()) not in self._notes:
            self._notes.append(text)
