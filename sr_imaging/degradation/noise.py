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

    ``gaussian``; ``rician``, the magnitude of a complex value with Gaussian noise (MR); ``poisson-gaussian``,
    Gaussian noise of the variance ``gain * (x - zero) + sigma**2`` at the value x: counted photons and the
    electronics that read them (optical sensors, CT; A. Foi et al., IEEE TIP 17, 2008, eq. 3).
    """

    kind: str = "none"  # of NOISE_KINDS
    sigma: float = 0.0  # standard deviation, in the unit of the values
    gain: float = 0.0  # variance per signal of poisson-gaussian, in the unit of the values
    zero: float = 0.0  # value of no signal, without a Poisson part below it: -1024 for Hounsfield units

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
    """Return a block of an array with noise, float64: the values it has in the whole, however it is cut.

    `seed` chooses the noise of the whole array, of the shape `shape`, in which the block begins at `start`.
    """
    if noise.kind == "none" or noise.sigma == noise.gain == 0:
        return values
    index = [np.arange(low, low + size) for low, size in zip(start, values.shape, strict=True)]
    noisy = values + _find_deviation(values, noise) * normal_at(index, shape, seed)
    if noise.kind != "rician":
        return noisy
    return np.hypot(noisy, noise.sigma * normal_at(index, shape, seed, stream=1))


def _find_deviation(values: np.ndarray, noise: Noise) -> float | np.ndarray:
    """Return the standard deviation of the noise, one for all pixels or one for each."""
    if noise.kind != "poisson-gaussian":
        return noise.sigma
    return np.asarray(np.sqrt(noise.gain * np.maximum(values - noise.zero, 0) + noise.sigma**2))


def normal_at(index: Sequence[np.ndarray], shape: Sequence[int], seed: int, *, stream: int = 0) -> np.ndarray:
    """Return a standard normal number for each pixel of a grid, float64, the same in whatever grid.

    `index` says where the pixels lie along each axis of the whole array, of the shape `shape`; `stream` 0 or
    1 are two independent numbers. After G. Box and M. Muller, Ann. Math. Stat. 29, 1958.
    """
    place = np.zeros([1] * len(shape), dtype=np.uint64)
    for axis, (along, size) in enumerate(zip(index, shape, strict=True)):
        steps = along.astype(np.uint64).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        place = place * np.uint64(size) + steps
    key = _mix_bits(np.array([(2 * seed + stream) % 2**64], dtype=np.uint64))
    first = _mix_bits(place * np.uint64(2) ^ key)
    second = _mix_bits((place * np.uint64(2) + np.uint64(1)) ^ key)
    u, v = ((bits >> np.uint64(11)).astype(np.float64) for bits in (first, second))
    return np.asarray(np.sqrt(-2 * np.log((u + 0.5) * 2.0**-53)) * np.cos(2 * np.pi * v * 2.0**-53))


def _mix_bits(bits: np.ndarray) -> np.ndarray:
    """Scramble 64-bit integers: the finaliser of SplitMix64 (Steele et al. 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
