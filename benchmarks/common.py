"""What the benchmarks share: paired timing, and tables that print ratios."""

import time
from collections.abc import Callable

import numpy as np

__all__ = ["format_ratio", "make_image", "time_pairs"]


def make_image(*shape: int, seed: int = 0) -> np.ndarray:
    """Return a float32 image with structure at all sizes, mean 1000."""
    steps = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    for axis in range(len(shape)):
        steps = np.cumsum(steps, axis=axis) / 2
    return steps * 10 + 1000


def time_pairs(
    first: Callable[[], object], second: Callable[[], object], runs: int = 5
) -> list[tuple[float, float]]:
    """Return the seconds of both, run in turn A B A B … after one warm-up each, so that drift cancels."""
    first(), second()
    pairs = []
    for _ in range(runs):
        seconds = []
        for call in (first, second):
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
        pairs.append((seconds[0], seconds[1]))
    return pairs


def format_ratio(pairs: list[tuple[float, float]]) -> str:
    """Return median, min and max of second over first: how many times as fast the first is."""
    ratios = sorted(b / a for a, b in pairs)
    return f"{ratios[len(ratios) // 2]:.2f} (min {ratios[0]:.2f}, max {ratios[-1]:.2f})"
