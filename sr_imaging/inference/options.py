"""What `upscale` is asked for, in one piece that inner functions and the batch hand on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sr_imaging.errors import ConfigError

from .request import Scale, Spacing

__all__ = ["EngineSettings", "Progress", "UpscaleOptions"]

Progress = Callable[[int, int], None]  # called as progress(done, total)


@dataclass(frozen=True)
class EngineSettings:
    """What is asked of the engine that runs a generator; checked where the engine is made."""

    device: str = "auto"  # auto takes CUDA where there is one
    precision: str = "auto"  # float32, and bf16 on CUDA where the model's card states a loss below 0.02 dB
    tile: int | tuple[int, ...] | None = None  # LR pixels; from the memory budget by default
    max_memory: int | None = None  # bytes of one pass; a quarter of what is free, at most 2 GiB, by default


@dataclass(frozen=True)
class UpscaleOptions:
    """The options of :func:`sr_imaging.upscale`, which explains them."""

    model: Any = "auto"
    scale: Scale = None
    spacing: Spacing = None
    device: str = "auto"
    precision: str = "auto"
    tile: int | tuple[int, ...] | None = None
    max_memory: int | str | None = None
    dtype: Any = None
    strict: bool = False
    seed: int = 0
    guide: Any = None

    @property
    def engine_settings(self) -> EngineSettings:
        """What the engine needs of them; raises a ConfigError where `max_memory` is not an amount."""
        return EngineSettings(self.device, self.precision, self.tile, _count_bytes(self.max_memory))


def _count_bytes(max_memory: int | str | None) -> int | None:
    """Return an amount of memory in bytes."""
    from dask.utils import parse_bytes

    if max_memory is None:
        return None
    try:
        amount = int(parse_bytes(max_memory))
    except (ValueError, TypeError):
        amount = -1
    if amount < 0:
        raise ConfigError(f"max_memory {max_memory!r} is not an amount of memory; give bytes or '2 GiB'")
    return amount
