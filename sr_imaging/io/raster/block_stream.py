"""Blocks of an array on their way into a file: the next ones are computed while one is written.

A few are in hand at a time, in the order of the file, so that memory depends on the size of a block alone.
While one has the network others read or wait to be written.
"""

import ctypes
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["blocks_of"]

_STRIP = 512  # rows: whole tiles of the file
_PIXELS_PER_TURN = 2**24  # of an array in memory
_IN_HAND_BYTES = 128 * 2**20  # of blocks that are computed at once
_IN_HAND_OF_CLUSTER = 2**31  # the same where others compute them: each of its threads has one


def blocks_of(da: xr.DataArray) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield windows and their values from top to bottom.

    Parameters
    ----------
    da : (band, y, x) DataArray
        In memory, or lazy: then each of its chunks is computed once, by the cluster that would compute it or
        by threads here.

    Yields
    ------
    Window, (band, y, x) ndarray
        Of rasterio.
    """
    if da.chunks is None:
        rows = _STRIP * max(1, _PIXELS_PER_TURN // (_STRIP * da.shape[0] * da.shape[2]))
        for top in range(0, da.shape[1], rows):
            yield _window(top, 0, block := da.values[:, top : top + rows]), block
        return
    lazy = da.data.rechunk({0: -1})
    tops, lefts = (np.cumsum((0, *chunks[:-1])) for chunks in lazy.chunks[1:])
    delayed = lazy.to_delayed()[0]
    largest = math.prod(lazy.chunksize) * da.dtype.itemsize
    scheduler, threads = _scheduler()
    room = _IN_HAND_BYTES if scheduler == "synchronous" else _IN_HAND_OF_CLUSTER
    workers = int(np.clip(room // largest, 2, max(2, threads)))
    places = [(row, col) for row in range(len(tops)) for col in range(len(lefts))]
    give_back = _give_back()
    for (row, col), block in _ahead(delayed, places, workers, scheduler):
        yield _window(int(tops[row]), int(lefts[col]), block), block
        give_back(0)


def _ahead(
    delayed: Any, places: list[tuple[int, int]], workers: int, scheduler: Any
) -> Iterator[tuple[Any, np.ndarray]]:
    """Places and their blocks in order, as many computed ahead as there are workers."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sr-blocks")
    waiting: deque[tuple[tuple[int, int], Future[Any]]] = deque()
    try:
        for place in places:
            waiting.append((place, pool.submit(_compute, delayed[place], scheduler)))
            if len(waiting) > workers:
                first, future = waiting.popleft()
                yield first, np.asarray(future.result())
        while waiting:
            first, future = waiting.popleft()
            yield first, np.asarray(future.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _compute(block: Any, scheduler: Any) -> Any:
    """One block."""
    return block.compute(scheduler=scheduler)


def _give_back() -> Callable[[int], object]:
    """What returns freed memory to the system where the C library, as glibc's, keeps it for each thread.

    Without it the memory of a long run creeps up by a sixth, from temporaries that lie between one another.
    """
    return getattr(ctypes.CDLL(None) if os.name == "posix" else None, "malloc_trim", _keep)


def _keep(_: int) -> None:
    """Other C libraries give back by themselves."""


def _scheduler() -> tuple[Any, int]:
    """The cluster that is connected and its threads, else the thread that asks: several ask at once."""
    from dask.base import get_scheduler

    chosen = get_scheduler()
    client = getattr(chosen, "__self__", None)
    if client is None:
        return "synchronous", os.cpu_count() or 1
    return chosen, sum(client.nthreads().values())


def _window(top: int, left: int, block: Any) -> Any:
    """The window of a block whose first pixel is given."""
    from rasterio.windows import Window

    return Window(left, top, block.shape[2], block.shape[1])
