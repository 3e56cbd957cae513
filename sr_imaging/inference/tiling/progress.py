"""Progress reported to the caller from where the work is done: threads here, or workers of a cluster."""

import threading
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sr_imaging.errors import CancelledError
from sr_imaging.inference.options import Progress

from .cluster import ask_to_stop, line_home, listen, unlisten

__all__ = ["Steps", "steps_of"]


class Steps:
    """Counts steps for a caller, who may raise a ``CancelledError`` in `progress` to stop.

    A copy that reaches another process reports its steps to this one, over the `client` of the cluster.
    """

    def __init__(self, progress: Progress, total: int, client: Any = None) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self.topic = f"sr-progress-{uuid.uuid4().hex}"
        _HERE[self.topic] = self
        if client is not None:
            listen(client, self.topic, _make_listener(weakref.ref(self), client, self.topic))
            weakref.finalize(self, unlisten, client, self.topic)

    def __call__(self) -> None:
        """Count one step and report it to the caller."""
        with self._lock:
            self._done += 1
            self._progress(min(self._done, self._total), self._total)

    def __reduce__(self) -> tuple[Any, ...]:
        return _find_steps, (self.topic,)


_HERE: "weakref.WeakValueDictionary[str, Steps]" = weakref.WeakValueDictionary()


def steps_of(progress: Progress | None, total: int, client: Any = None) -> Steps | None:
    """Return the steps of a caller who wants to hear of them, else None."""
    return None if progress is None else Steps(progress, total, client)


@dataclass(frozen=True)
class _RemoteSteps:
    """Steps in another process than the caller's; they are lost where no cluster joins the two."""

    topic: str

    def __call__(self) -> None:
        """Report a step; raise where the caller asked to stop."""
        line = line_home(self.topic)
        if line is not None:
            line.report(1)


def _find_steps(topic: str) -> Callable[[], None]:
    """Return the steps of this topic, or what stands for them in another process."""
    return _HERE.get(topic) or _RemoteSteps(topic)


def _make_listener(steps: "weakref.ref[Steps]", client: Any, topic: str) -> Callable[[Any], Any]:
    """Return what is done at each message; it must not keep the steps alive."""

    def heard(_: Any) -> Any:
        counted = steps()
        try:
            if counted is not None:
                counted()
        except CancelledError:
            return ask_to_stop(client, topic)
        return None

    return heard
