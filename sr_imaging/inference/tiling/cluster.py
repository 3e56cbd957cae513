"""The dask cluster that work is spread over: the one a caller has, or one started or joined for a run."""

import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask
from dask.base import get_scheduler

from sr_imaging import __version__
from sr_imaging.errors import CancelledError, ConfigError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Line", "ask_to_stop", "connect", "current_client", "line_home", "listen", "unlisten"]

THREADS = 2  # of a worker: one fills and reads while the other has the device
_LOCAL = re.compile(r"local:([1-9]\d*)")
_ADDRESS = re.compile(r"\w+://\S+")
_TIMEOUT_S = 30  # until a scheduler answers and has a worker

log = logging.getLogger(__name__)


def current_client() -> "Client | None":
    """Return the client of the cluster that would compute a dask array now, or None where none would."""
    distributed = sys.modules.get("distributed")
    owner = getattr(get_scheduler(), "__self__", None)
    return owner if distributed is not None and isinstance(owner, distributed.Client) else None


@contextmanager
def connect(place: str) -> "Iterator[Client]":
    """Yield the client of a cluster, which computes all dask arrays in the block.

    ``local:2`` starts two worker processes here, for as long as the block runs; they share the cores, and
    each has a GPU of its own where there are as many. An address like ``tcp://10.0.0.5:8786`` joins the
    cluster of that scheduler. Raises ConfigError if the text names no cluster, dask.distributed is not
    installed, no scheduler answers, or its workers have no package like this one.
    """
    try:
        import distributed
    except ImportError as error:
        raise ConfigError(
            "a cluster needs dask.distributed; install it with pip install 'sr-imaging[cluster]'"
        ) from error
    if local := _LOCAL.fullmatch(place):
        count = int(local[1])
        with (
            _restore_environment(cores_of(count)),
            _start_workers(count) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
    elif _ADDRESS.fullmatch(place):
        with _join_cluster(place) as client:
            yield client
    else:
        raise ConfigError(f"unknown cluster {place!r}; give local:2 or an address like tcp://10.0.0.5:8786")


def _start_workers(count: int) -> Any:
    """Return a cluster of worker processes on this machine."""
    from distributed import Nanny, Scheduler, SpecCluster
    from distributed.system import MEMORY_LIMIT

    shared: dict[str, Any] = {"nthreads": THREADS, "memory_limit": MEMORY_LIMIT // count, "dashboard": False}
    shared |= {"host": "127.0.0.1", "silence_logs": logging.ERROR}
    workers = {k: {"cls": Nanny, "options": {**shared, "env": gpu_of(k)}} for k in range(count)}
    quiet = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": quiet}
    with dask.config.set({"distributed.nanny.pre-spawn-environ": cores_of(count)}):
        return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR)


@contextmanager
def _restore_environment(names: Iterable[str]) -> Iterator[None]:
    """Restore variables of this process after the block: dask sets them here for those that it starts."""
    before = {name: os.environ[name] for name in names if name in os.environ}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def cores_of(count: int) -> dict[str, str]:
    """Return the environment that gives each of several workers on this machine its share of the cores.

    It stands in the place of dask's own, which also has glibc give memory back at every turn
    (MALLOC_TRIM_THRESHOLD_): the features of a network, taken anew for each tile, then cost ten times the
    page faults and half as much time again.
    """
    from dask.system import CPU_COUNT

    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(max(1, CPU_COUNT // count)))


def gpu_of(number: int) -> dict[str, str]:
    """Return the environment that shows a worker on this machine one GPU, where there are several."""
    import torch

    gpus = torch.cuda.device_count()
    if gpus < 2:
        return {}
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    return {"CUDA_VISIBLE_DEVICES": seen[number % gpus]}


@contextmanager
def _join_cluster(address: str) -> "Iterator[Client]":
    """Yield the client of a cluster that runs already, its workers tried."""
    import distributed

    try:
        client = distributed.Client(address, timeout=_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no scheduler answers at {address} within {_TIMEOUT_S} s; check the address and the network"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_TIMEOUT_S)
            found = set(client.run(_get_version).values())
        except TimeoutError as error:
            raise ConfigError(f"the cluster at {address} has no workers; start some") from error
        except ImportError as error:
            raise ConfigError(
                f"the workers at {address} lack a package ({error}); install sr-imaging on them"
            ) from error
        if found != {__version__}:
            have = ", ".join(sorted(found))
            raise ConfigError(
                f"the workers at {address} have sr_imaging {have}, here is {__version__}; install the same"
            )
        yield client


def _get_version() -> str:
    """Return the version that a worker has installed."""
    return __version__


@dataclass(frozen=True)
class Line:
    """What joins a worker to those who wait for its work; used from any of its threads."""

    topic: str  # what it is about
    worker: Any  # of dask.distributed, like the client, in the worker's process
    client: Any

    def report(self, message: Any) -> None:
        """Send a message of plain numbers and lists; raise CancelledError where the caller asked to stop."""
        self.worker.log_event(self.topic, message)
        if _stop_event(self.client, self.topic).is_set():
            raise CancelledError("the caller asked to stop")


def line_home(topic: str) -> Line | None:
    """Return the line of the task that runs in this thread, None outside a worker of a cluster."""
    distributed = sys.modules.get("distributed")
    try:
        return (
            None if distributed is None else Line(topic, distributed.get_worker(), distributed.get_client())
        )
    except ValueError:
        return None


def _stop_event(client: Any, topic: str) -> Any:
    """Return the event by which the workers of a topic are asked to stop."""
    from distributed import Event

    return Event(f"{topic}-stop", client)


def listen(client: "Client", topic: str, heard: Callable[[Any], Awaitable[None] | None]) -> None:
    """Call a function, in the thread of a client, with each ``(time, message)`` of its workers."""
    client.subscribe_topic(topic, heard)


def unlisten(client: "Client", topic: str) -> None:
    """Stop listening to a topic."""
    if client.status == "running":
        client.unsubscribe_topic(topic)


def ask_to_stop(client: "Client", topic: str) -> Any:
    """Ask the workers that report on a topic to stop; an awaitable in the thread of the client."""
    return _stop_event(client, topic).set()
