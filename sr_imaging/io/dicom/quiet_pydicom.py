"""Odd header values end in verdicts: pydicom must neither warn about them nor log their text."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pydicom.config import disable_value_validation

__all__ = ["quiet_pydicom"]

_LOCK = threading.Lock()
_OPEN: list[ExitStack] = []
_DEPTH = [0]


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from validating values, whose texts would end up in logs and warnings.

    The settings are global, so the first of several threads makes them and the last one restores them.
    """
    with _LOCK:
        if _DEPTH[0] == 0:
            stack = ExitStack()
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.enter_context(disable_value_validation())
            logger = logging.getLogger("pydicom")
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)  # decoders log a traceback for each that fails
            _OPEN.append(stack)
        _DEPTH[0] += 1
    try:
        yield
    finally:
        with _LOCK:
            _DEPTH[0] -= 1
            if _DEPTH[0] == 0:
                _OPEN.pop().close()
