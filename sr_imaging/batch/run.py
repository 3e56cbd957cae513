"""Many scans: plan, run, resume, report. A scan that fails stays with its failure, and the run goes on."""

import logging
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sr_imaging.inference.tiling.cluster import connect
from sr_imaging.io.dicom.checking.series import check_scans
from sr_imaging.io.dicom.patient import patient_of
from sr_imaging.io.scan import Check

from .inputs import Found, find_inputs, shown_cause
from .journal import Journal
from .on_cluster import Sent, is_sent, spread
from .one_scan import record, work_on
from .output_names import FORMATS
from .plan import Plan, plan_batch, size_text
from .report import RunReport, ScanResult
from .task import IF_EXISTS, BatchOptions, Task, steps_text

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

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who wants to see a batch go on."""

    def started(self, task: Task, number: int, total: int) -> None:
        """A scan begins, the `number`-th of `total`."""

    def tiles(self, done: int, total: int) -> None:
        """A tile of it is done; called from any thread."""

    def ended(self, result: ScanResult) -> None:
        """It has ended, one way or another."""


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
        If outputs exist and the options do not say what becomes of them, or there is no such cluster.
    ResourceError
        If the disk is too small for the plan, or the memory for every scan of it.
    """
    plan.check()
    run = _Run(plan, listener or _Silent(), [_blank(task) for task in plan.tasks], Journal(plan.folder))
    began, now = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    interrupted = False
    try:
        if plan.options.cluster is None:
            run.here(range(len(plan.tasks)))
        else:
            with connect(plan.options.cluster) as client:
                run.spread(client)
    except KeyboardInterrupt:
        interrupted = True
    interrupted = interrupted or any(result.status == "interrupted" for result in run.results)
    return RunReport(run.results, plan.options.as_dict(), now, time.perf_counter() - began, interrupted)


@dataclass
class _Run:
    """A plan while it is done."""

    plan: Plan
    tell: Listener
    results: list[ScanResult]
    journal: Journal

    def here(self, numbers: Iterable[int]) -> bool:
        """Do scans in turn in this process; return True where the run ends before the last of them.

        A cluster that is connected computes the blocks of lazy ones.
        """
        for number in numbers:
            task, result = self.plan.tasks[number], self.results[number]
            self.tell.started(task, number + 1, len(self.results))
            hashes = None
            if task.action == "run":
                model = task.generator if self.plan.model == "auto" else self.plan.model
                hashes = work_on(task, result, self.plan.options, model, self.tell.tiles)
            else:
                status = {"fail": "failed", "skip": "skipped"}
                result.status, result.cause = status.get(task.action, task.action), task.cause
            if self.is_last(Sent(number, task, result, hashes)):
                return True
        return False

    def spread(self, client: Any) -> None:
        """Do scans on a cluster: those larger than a worker's share block by block, the others whole."""
        tasks, total = self.plan.tasks, len(self.results)
        whole = [k for k, task in enumerate(tasks) if is_sent(task, tasks, len(client.nthreads()))]
        if self.here(k for k in range(total) if k not in whole):
            return
        back = spread(
            client,
            [Sent(k, tasks[k], self.results[k]) for k in whole],
            self.plan.options,
            self.plan.model,
            started=lambda scan: self.tell.started(scan.task, scan.number + 1, total),
            tiles=self.tell.tiles,
        )
        with closing(back):
            for scan in back:
                self.results[scan.number] = scan.result
                for text in scan.result.warnings:
                    log.warning("%s", text)
                if self.is_last(scan):
                    return

    def is_last(self, scan: Sent) -> bool:
        """Write down what became of a scan, tell of it, and say whether the run ends with it."""
        if scan.hashes is not None:
            record(self.journal, scan.task, scan.result, scan.hashes)
        self.tell.ended(scan.result)
        failed = scan.result.status == "failed" and self.plan.options.fail_fast
        return failed or scan.result.status == "interrupted"


def _blank(task: Task) -> ScanResult:
    """The result of a scan that has not begun."""
    return ScanResult(task.found.label, "" if task.output is None else str(task.output), facts=task.facts())
