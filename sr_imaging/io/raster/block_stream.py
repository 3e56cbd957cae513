"""Blocks of an array on their way into a file: the next ones are computed while one is written.

A few are held at a time, in the order of the file, so that memory depends on the size of a block alone.
While one is in the network others are read or wait to be written.
"""

import ctypes
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["blocks_of"]

_STRIP = 512  # rows: whole tiles of the file
_PIXELS_PER_TURN = 2**24  # of an array in memory
_IN_HAND_BYTES = 128 * 2**20  # of blocks that are computed at once
_IN_HAND_OF_CLUSTER = 2**31  # the same where others compute them: each of its threads has one


def blocks_of(da: xr.DataArray) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield windows of rasterio and their (band, y, x) values from top to bottom.

    Each chunk of a lazy array is computed once, by the cluster that would compute it or by threads here.
    """
    if da.chunks is None:
        rows = _STRIP * max(1, _PIXELS_PER_TURN // (_STRIP * da.shape[0] * da.shape[2]))
        for top in range(0, da.shape[1], rows):
            yield _build_window(top, 0, block := da.values[:, top : top + rows]), block
        return
    lazy = da.data.rechunk({0: -1})
    tops, lefts = (np.cumsum((0, *chunks[:-1])) for chunks in lazy.chunks[1:])
    delayed = lazy.to_delayed()[0]
    largest = math.prod(lazy.chunksize) * da.dtype.itemsize
    scheduler, threads = _find_scheduler()
    room = _IN_HAND_BYTES if scheduler == "synchronous" else _IN_HAND_OF_CLUSTER
    workers = int(np.clip(room // largest, 2, max(2, threads)))
    places = [(row, col) for row in range(len(tops)) for col in range(len(lefts))]
    trim_memory = _find_malloc_trim()
    for (row, col), block in _compute_ahead(delayed, places, workers, scheduler):
        yield _build_window(int(tops[row]), int(lefts[col]), block), block
        trim_memory(0)


def _compute_ahead(
    delayed: Any, places: list[tuple[int, int]], workers: int, scheduler: Any
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield places and their blocks in order, as many computed ahead as there are workers."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="sr-blocks")
    futures = (pool.submit(delayed[place].compute, scheduler=scheduler) for place in places)
    try:
        waiting = deque(islice(futures, workers))
        for place in places:
            waiting.extend(islice(futures, 1))
            yield place, np.asarray(waiting.popleft().result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _find_malloc_trim() -> Callable[[int], object]:
    """Return what gives freed memory back where the C library, as glibc's, keeps it for each thread.

    Without it the memory of a long run grows by a sixth, from temporaries that lie between one another.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    return getattr(library, "malloc_trim", lambda _: None)


def _find_scheduler() -> tuple[Any, int]:
    """Return the connected cluster and its threads, else the calling thread, of which several run at once."""
    from dask.base import get_scheduler

    chosen = get_scheduler()
    client = getattr(chosen, "__self__", None)
    if client is None:
        return "synchronous", os.cpu_count() or 1
    return chosen, sum(client.nthreads().values())


def _build_window(top: int, left: int, block: Any) -> Any:
    """Return the window of a block whose first pixel is given."""
    from rasterio.windows import Window

    return Window(left, top, block.shape[2], block.shape[1])
