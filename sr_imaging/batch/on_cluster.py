"""Scans of a batch spread over the workers of a cluster: each is read, super-resolved and written by one."""

import os
import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dask

from sr_imaging.errors import CancelledError
from sr_imaging.inference.options import EngineSettings
from sr_imaging.inference.tiling.cluster import THREADS, ask_to_stop, line_home, listen, unlisten
from sr_imaging.inference.tiling.delivery import Delivery, as_node
from sr_imaging.io.atomic import clear_leftovers

from .one_scan import FAILURES, cause_of, work_on
from .report import ScanResult
from .task import BatchOptions, Task

__all__ = ["Sent", "is_sent", "spread"]

_PARTS = 1000  # of a scan, in the progress of the whole
_ONE = threading.Lock()  # a worker has one scan in hand at a time


@dataclass
class Sent:
    """A scan on its way.

    Parameters
    ----------
    number : int
        Its place in the plan, from 0.
    task : Task
        What is planned.
    result : ScanResult
        What became of it, once it is back.
    hashes : dict or None
        What its finished output was made from.
    """

    number: int
    task: Task
    result: ScanResult
    hashes: dict[str, str] | None = None


def is_sent(task: Task, tasks: Sequence[Task], workers: int) -> bool:
    """Tell whether a scan goes to one worker whole, rather than block by block to all of them.

    What cannot be read in blocks goes whole; so does what is no more than a worker's share of the run.
    """
    total = sum(other.fine_nbytes for other in tasks if other.action == "run")
    return task.action == "run" and (task.memory_bytes > 0 or task.fine_nbytes * workers <= total)


def spread(
    client: Any,
    scans: Sequence[Sent],
    options: BatchOptions,
    model: Any,
    *,
    started: Callable[[Sent], None],
    tiles: Callable[[int, int], None],
) -> Generator[Sent, None, None]:
    """Send scans to the workers, as many at once as there are, and yield each as it comes back.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    scans : sequence of Sent
        In the order to begin them.
    options : BatchOptions
        What is asked for.
    model : object
        As in :class:`sr_imaging.batch.run.Plan`.
    started : callable
        Called when a scan is sent.
    tiles : callable
        Called as ``tiles(done, total)`` for the whole.

    Yields
    ------
    Sent
        With its result. The rest is cancelled if the caller stops.
    """
    from distributed import as_completed

    board = _Board(len(scans), tiles)
    topic = f"sr-batch-{uuid.uuid4().hex}"
    listen(client, topic, board.hear)
    waiting, back = list(scans), as_completed()
    futures: dict[str, Sent] = {}
    try:
        while waiting or futures:
            while waiting and len(futures) < max(1, len(client.nthreads())):
                scan = waiting.pop(0)
                started(scan)
                future = _submit(client, scan, options, model, topic)
                futures[future.key] = scan
                back.add(future)
            future = next(back)
            scan = futures.pop(future.key)
            yield _returned(scan, future, board)
    finally:
        if futures:
            ask_to_stop(client, topic)
            client.cancel([future for future in back.futures if future.key in futures], force=True)
        unlisten(client, topic)


@dataclass
class _Board:
    """What the workers tell of their scans: how far each is, and which processes had it."""

    count: int
    tiles: Callable[[int, int], None]
    parts: dict[int, int] = field(default_factory=dict)
    processes: dict[int, list[int]] = field(default_factory=dict)

    def hear(self, event: tuple[float, Sequence[int]]) -> None:
        """Take in one message: number of the scan, process, tiles done, tiles in all."""
        number, process, done, total = event[1]
        had = self.processes.setdefault(number, [])
        if process not in had:
            had.append(process)
        self.parts[number] = _PARTS * done // max(total, 1)
        if total:
            self.tiles(sum(self.parts.values()), _PARTS * self.count)


def _submit(client: Any, scan: Sent, options: BatchOptions, model: Any, topic: str) -> Any:
    """Send one scan; its model is on the cluster once for all scans."""
    task = scan.task
    generator = task.generator if model == "auto" else model
    if not isinstance(generator, str):
        settings = EngineSettings(options.device, options.precision)
        (generator,) = client.futures_of(as_node(Delivery(generator, task.model_sha256, settings)))
    light = replace(task, generator=None, output=Path(task.output).absolute() if task.output else None)
    sent = replace(scan, task=_at_home(light))
    key = f"sr-scan-{scan.number}-{topic}"
    return client.submit(_on_worker, sent, options, generator, topic, key=key, pure=False)


def _at_home(task: Task) -> Task:
    """A task whose files are named by whole paths, since a worker may stand in another folder."""
    scan = task.found.scan
    files = tuple(path.absolute() if path.exists() else path for path in scan.files)
    path = scan.path.absolute() if scan.path.exists() else scan.path
    return replace(task, found=replace(task.found, scan=replace(scan, path=path, files=files)))


def _on_worker(
    scan: Sent, options: BatchOptions, model: Any, topic: str
) -> tuple[ScanResult, dict[str, str] | None]:
    """Do one scan here, in threads of this process alone."""
    line, process = line_home(topic), os.getpid()

    def tiles(done: int, total: int) -> None:
        if line is not None:
            line.tell([scan.number, process, done, total])
            if line.is_asked_to_stop():
                raise CancelledError("the run was stopped; start it again with --resume")

    generator = model.generator if isinstance(model, Delivery) else model
    with _ONE, dask.config.set(scheduler="threads", num_workers=THREADS):
        if line is not None:
            line.tell([scan.number, process, 0, 0])
        hashes = work_on(scan.task, scan.result, options, generator, tiles)
    return scan.result, hashes


def _returned(scan: Sent, future: Any, board: _Board) -> Sent:
    """A scan that has come back, or was lost with every worker that had it."""
    try:
        result, hashes = future.result()
        board.parts[scan.number] = _PARTS
        scan = replace(scan, result=result, hashes=hashes)
    except FAILURES as error:
        private = scan.task.found.scan.kind == "dicom"
        scan.result.status = "failed"
        scan.result.cause = cause_of(error, scan.task.found.label, private=private)
    if scan.task.output is not None:
        with suppress(OSError):
            clear_leftovers(scan.task.output, board.processes.get(scan.number, [])[:-1])
    return scan
