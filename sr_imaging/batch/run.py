"""Run a batch: resume, spread, report. A scan that fails stays with its failure, and the run goes on."""

import logging
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sr_imaging.inference.tiling.cluster import connect

from .journal import Journal
from .on_cluster import Sent, is_sent, spread
from .one_scan import record, work_on
from .plan import Plan
from .report import RunReport, ScanResult
from .task import Task

__all__ = ["Listener", "run_batch"]

log = logging.getLogger(__name__)


class Listener(Protocol):
    """What shows a batch as it goes on."""

    def started(self, task: Task, number: int, total: int) -> None:
        """Scan `number` of `total` begins."""

    def tiles(self, done: int, total: int) -> None:
        """Some tiles of it are done; called from any thread."""

    def ended(self, result: ScanResult) -> None:
        """It has ended, one way or another."""


class _Silent:
    """A listener that does nothing."""

    def started(self, task: Task, number: int, total: int) -> None: ...
    def tiles(self, done: int, total: int) -> None: ...
    def ended(self, result: ScanResult) -> None: ...


def run_batch(plan: Plan, *, listener: Listener | None = None) -> RunReport:
    """Do what a plan says; also after an interrupt (``KeyboardInterrupt``) return what became of every scan.

    The scan in hand then leaves nothing behind, and the ones after it are ``not started``. Raises as
    :meth:`Plan.check` does, and ConfigError if there is no such cluster.
    """
    plan.check()
    results = [_make_result(task) for task in plan.tasks]
    run = _Run(plan, listener or _Silent(), results, Journal(plan.folder))
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
    interrupted = interrupted or any(result.status == "interrupted" for result in results)
    return RunReport(results, plan.options.as_dict(), now, time.perf_counter() - began, interrupted)


@dataclass
class _Run:
    """A plan while it is done."""

    plan: Plan
    listener: Listener
    results: list[ScanResult]
    journal: Journal

    def here(self, numbers: Iterable[int]) -> bool:
        """Do scans in turn in this process; return whether the run ends before the last of them.

        A cluster that is connected computes the blocks of lazy ones.
        """
        for number in numbers:
            task, result = self.plan.tasks[number], self.results[number]
            self.listener.started(task, number + 1, len(self.results))
            hashes = None
            if task.action == "run":
                model = task.generator if self.plan.model == "auto" else self.plan.model
                hashes = work_on(task, result, self.plan.options, model, self.listener.tiles)
            else:
                status = {"fail": "failed", "skip": "skipped"}
                result.status, result.cause = status.get(task.action, task.action), task.cause
            if self.finish(Sent(number, task, result, hashes)):
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
            started=lambda scan: self.listener.started(scan.task, scan.number + 1, total),
            tiles=self.listener.tiles,
        )
        with closing(back):
            for scan in back:
                self.results[scan.number] = scan.result
                for text in scan.result.warnings:
                    log.warning("%s", text)
                if self.finish(scan):
                    return

    def finish(self, scan: Sent) -> bool:
        """Record and report what became of a scan; return whether the run ends with it."""
        if scan.hashes is not None:
            record(self.journal, scan.task, scan.result, scan.hashes)
        self.listener.ended(scan.result)
        failed = scan.result.status == "failed" and self.plan.options.fail_fast
        return failed or scan.result.status == "interrupted"


def _make_result(task: Task) -> ScanResult:
    """Return the result of a scan that has not begun."""
    return ScanResult(task.found.label, "" if task.output is None else str(task.output), facts=task.facts())
