"""Noise that depends on a seed and a pixel's place, so that chunks and tiles do not change it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sr_imaging.errors import ConfigError

__all__ = ["NOISELESS", "NOISE_KINDS", "Noise", "add_noise", "normal_at"]

NOISE_KINDS = ("none", "gaussian", "rician", "poisson-gaussian")


@dataclass(frozen=True)
class Noise:
    """Noise of the coarse instrument.

    Parameters
    ----------
    kind : str
        ``none``; ``gaussian``; ``rician``, the magnitude of a complex value with Gaussian noise (MR); or
        ``poisson-gaussian``, Gaussian noise of the variance ``gain * (x - zero) + sigma**2`` at the value x
        (counted photons and the electronics that read them: optical sensors, CT).
    sigma : float
        Standard deviation, in the unit of the values.
    gain : float
        Variance per signal of ``poisson-gaussian``, in the unit of the values.
    zero : float
        Value of no signal, in the unit of the values: -1024 for Hounsfield units. Below it there is no
        Poisson part.

    Raises
    ------
    ConfigError
        If the kind is unknown, or sigma or gain is negative.

    References
    ----------
    A. Foi, M. Trimeche, V. Katkovnik, K. Egiazarian, "Practical Poissonian-Gaussian noise modeling and
    fitting for single-image raw-data", IEEE TIP 17, 2008, eq. 3.
    """

    kind: str = "none"
    sigma: float = 0.0
    gain: float = 0.0
    zero: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in NOISE_KINDS:
            raise ConfigError(f"unknown noise {self.kind!r}; use one of {', '.join(NOISE_KINDS)}")
        for name in ("sigma", "gain"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise ConfigError(f"noise {name} {value} is not a number >= 0; give it in the values' unit")


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
    if noise.kind == "none" or noise.sigma == noise.gain == 0:
        return values
    index = [np.arange(low, low + size) for low, size in zip(start, values.shape, strict=True)]
    noisy = values + _deviation(values, noise) * normal_at(index, shape, seed)
    if noise.kind != "rician":
        return noisy
    return np.hypot(noisy, noise.sigma * normal_at(index, shape, seed, stream=1))


def _deviation(values: np.ndarray, noise: Noise) -> float | np.ndarray:
    """Standard deviation of the noise, one for all pixels or one for each."""
    if noise.kind != "poisson-gaussian":
        return noise.sigma
    return np.asarray(np.sqrt(noise.gain * np.maximum(values - noise.zero, 0) + noise.sigma**2))


def normal_at(index: Sequence[np.ndarray], shape: Sequence[int], seed: int, *, stream: int = 0) -> np.ndarray:
    """Return a standard normal number for each pixel of a grid.

    Parameters
    ----------
    index : sequence of (n,) int ndarray
        Where the pixels lie along each axis of the whole array.
    shape : sequence of int
        Of the whole array.
    seed : int
        Chooses the numbers of the whole array.
    stream : int
        0 or 1: two independent numbers for each pixel.

    Returns
    -------
    float64 ndarray
        One axis for each of `index`; a pixel has its number whatever grid it is asked in.

    References
    ----------
    G. Box and M. Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29, 1958.
    """
    place = np.zeros([1] * len(shape), dtype=np.uint64)
    for axis, (along, size) in enumerate(zip(index, shape, strict=True)):
        steps = along.astype(np.uint64).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        place = place * np.uint64(size) + steps
    key = _mix(np.array([(2 * seed + stream) % 2**64], dtype=np.uint64))
    first, second = _mix(place * np.uint64(2) ^ key), _mix((place * np.uint64(2) + np.uint64(1)) ^ key)
    u, v = ((bits >> np.uint64(11)).astype(np.float64) for bits in (first, second))
    return np.asarray(np.sqrt(-2 * np.log((u + 0.5) * 2.0**-53)) * np.cos(2 * np.pi * v * 2.0**-53))


def _mix(bits: np.ndarray) -> np.ndarray:
    """Scramble 64-bit integers: the finaliser of SplitMix64 (Steele et al. 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
