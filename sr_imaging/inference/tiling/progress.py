"""Progress told to the caller from wherever the work is done: threads here, or the workers of a cluster."""

import threading
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sr_imaging.errors import CancelledError

from .cluster import ask_to_stop, line_home, listen, unlisten

__all__ = ["Steps", "steps_of"]

Progress = Callable[[int, int], None]


class Steps:
    """Counts steps for a caller; what reaches another process tells this one of its steps.

    Parameters
    ----------
    progress : callable
        Called as ``progress(done, total)`` after each step; raises a ``CancelledError`` to stop.
    total : int
        Number of steps.
    client : distributed.Client, optional
        Of the cluster that takes them.
    """

    def __init__(self, progress: Progress, total: int, client: Any = None) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self.topic = f"sr-progress-{uuid.uuid4().hex}"
        _HERE[self.topic] = self
        if client is not None:
            listen(client, self.topic, _listener(weakref.ref(self), client, self.topic))
            weakref.finalize(self, unlisten, client, self.topic)

    def __call__(self) -> None:
        """Count one step and tell the caller."""
        with self._lock:
            self._done += 1
            self._progress(min(self._done, self._total), self._total)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.topic,)


_HERE: "weakref.WeakValueDictionary[str, Steps]" = weakref.WeakValueDictionary()


def steps_of(progress: Progress | None, total: int, client: Any = None) -> Steps | None:
    """Return the steps of a caller who wants to be told of them."""
    return None if progress is None else Steps(progress, total, client)


@dataclass(frozen=True)
class _Far:
    """Steps taken in another process than the caller's; they are lost where no cluster joins the two."""

    topic: str

    def __call__(self) -> None:
        """Tell of a step; raise where the caller asked to stop."""
        line = line_home(self.topic)
        if line is None:
            return
        line.tell(1)
        if line.is_asked_to_stop():
            raise CancelledError("the caller asked to stop")


def _arrive(topic: str) -> Callable[[], None]:
    """The steps of this topic, or what stands for them in another process."""
    return _HERE.get(topic) or _Far(topic)


def _listener(steps: "weakref.ref[Steps]", client: Any, topic: str) -> Callable[[Any], Any]:
    """What is done at each message; it must not keep the steps alive."""

    def heard(_: Any) -> Any:
        counted = steps()
        try:
            if counted is not None:
                counted()
        except CancelledError:
            return ask_to_stop(client, topic)
        return None

    return heard
