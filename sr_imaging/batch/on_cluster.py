"""Scans of a batch spread over the workers of a cluster: each is read, super-resolved and written by one."""

import os
import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import dask

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
    """A scan on its way, and what became of it."""

    number: int  # its place in the plan, from 0
    task: Task
    result: ScanResult
    hashes: dict[str, str] | None = None  # what its finished output was made from
    parts: int = 0  # that are done, of `_PARTS`
    processes: list[int] = field(default_factory=list)  # that had it, in turn


def is_sent(task: Task, tasks: Sequence[Task], workers: int) -> bool:
    """Return whether a scan goes to one worker whole, rather than block by block to all of them.

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

    `model` is that of the plan; `tiles` is called as ``tiles(done, total)`` for all scans together. The rest
    is cancelled if the caller stops.
    """
    from distributed import as_completed

    by_number = {scan.number: scan for scan in scans}

    def hear(event: tuple[float, Sequence[int]]) -> None:
        number, process, done, total = event[1]
        scan = by_number[number]
        if process not in scan.processes:
            scan.processes.append(process)
        scan.parts = _PARTS * done // max(total, 1)
        if total:
            tiles(sum(one.parts for one in scans), _PARTS * len(scans))

    topic = f"sr-batch-{uuid.uuid4().hex}"
    listen(client, topic, hear)
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
            _take_back(scan, future)
            yield scan
    finally:
        if futures:
            ask_to_stop(client, topic)
            client.cancel([future for future in back.futures if future.key in futures], force=True)
        unlisten(client, topic)


def _submit(client: Any, scan: Sent, options: BatchOptions, model: Any, topic: str) -> Any:
    """Send one scan; its model is on the cluster once for all scans."""
    generator = scan.task.generator if model == "auto" else model
    if not isinstance(generator, str):
        settings = EngineSettings(options.device, options.precision)
        (generator,) = client.futures_of(as_node(Delivery(generator, scan.task.model_sha256, settings)))
    sent = replace(scan, task=_detach(scan.task))
    key = f"sr-scan-{scan.number}-{topic}"
    return client.submit(_work_there, sent, options, generator, topic, key=key, pure=False)


def _detach(task: Task) -> Task:
    """Return a task without its model and with absolute paths, since a worker may be in another folder."""
    scan = task.found.scan
    path, *files = (one.absolute() if one.exists() else one for one in (scan.path, *scan.files))
    found = replace(task.found, scan=replace(scan, path=path, files=tuple(files)))
    output = None if task.output is None else task.output.absolute()
    return replace(task, found=found, generator=None, output=output)


def _work_there(
    scan: Sent, options: BatchOptions, model: Any, topic: str
) -> tuple[ScanResult, dict[str, str] | None]:
    """Do one scan on a worker, in threads of its process alone."""
    line = line_home(topic)

    def tiles(done: int, total: int) -> None:
        if line is not None:
            line.report([scan.number, os.getpid(), done, total])

    generator = model.generator if isinstance(model, Delivery) else model
    with _ONE, dask.config.set(scheduler="threads", num_workers=THREADS):
        tiles(0, 0)
        hashes = work_on(scan.task, scan.result, options, generator, tiles)
    return scan.result, hashes


def _take_back(scan: Sent, future: Any) -> None:
    """Fill in what became of a scan that has come back, or was lost with every worker that had it."""
    try:
        scan.result, scan.hashes = future.result()
        scan.parts = _PARTS
    except FAILURES as error:
        private = scan.task.found.scan.kind == "dicom"
        scan.result.status = "failed"
        scan.result.cause = cause_of(error, scan.task.found.label, private=private)
    if scan.task.output is not None:
        with suppress(OSError):
            clear_leftovers(scan.task.output, scan.processes[:-1])
