"""Noise that depends on a seed and a pixel's place, so that chunks and tiles do not change it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import ConfigError

__all__ = ["NOISELESS", "Noise", "add_noise"]


@dataclass(frozen=True)
class Noise:
    """Noise of the coarse instrument.

    Parameters
    ----------
    kind : str
        ``none``, ``gaussian``, or ``rician``: the magnitude of a complex value with Gaussian noise (MR).
    sigma : float
        Standard deviation, in the unit of the values.

    Raises
    ------
    ConfigError
        If the kind is unknown or sigma is negative.
    """

    kind: str = "none"
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("none", "gaussian", "rician"):
            raise ConfigError(f"unknown noise {self.kind!r}; use 'none', 'gaussian' or 'rician'")
        if not 0 <= self.sigma < np.inf:
            raise ConfigError(f"noise sigma {self.sigma} is not a number >= 0; give it in the values' unit")


NOISELESS = Noise()


def add_noise(
    values: np.ndarray, noise: Noise, seed: int, start: Sequence[int], shape: Sequence[int]
) -> np.ndarray:
    """Return a block of an array with noise.

    Parameters
    ----------
    values : float ndarray
        The block.
    noise : Noise
        What to add.
    seed : int
        Chooses the noise of the whole array.
    start, shape : sequence of int
        Index of the block's first pixel in the whole array, and the shape of that array.

    Returns
    -------
    float64 ndarray
        Noisy block; a block of any cut has the values it has in the whole.
    """
    if noise.kind == "none" or noise.sigma == 0:
        return values
    place = np.zeros(values.shape, dtype=np.uint64)
    for axis, (low, size) in enumerate(zip(start, shape, strict=True)):
        along = np.arange(low, low + values.shape[axis], dtype=np.uint64)
        along = along.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
        place = place * np.uint64(size) + along
    noisy = values + noise.sigma * _normal(place, seed, 0)
    if noise.kind == "gaussian":
        return noisy
    return np.hypot(noisy, noise.sigma * _normal(place, seed, 1))


def _normal(place: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """Standard normal number of each place, by the method of Box and Muller (1958)."""
    key = _mix(np.array([2 * seed + stream], dtype=np.uint64))
    first, second = _mix(place * np.uint64(2) ^ key), _mix((place * np.uint64(2) + np.uint64(1)) ^ key)
    u, v = ((bits >> np.uint64(11)).astype(np.float64) for bits in (first, second))
    return np.asarray(np.sqrt(-2 * np.log((u + 0.5) * 2.0**-53)) * np.cos(2 * np.pi * v * 2.0**-53))


def _mix(bits: np.ndarray) -> np.ndarray:
    """Scramble 64-bit integers: the finaliser of SplitMix64 (Steele et al. 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
