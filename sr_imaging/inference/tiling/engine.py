"""A generator made ready for a device: its precision, and a tile that fits into memory."""

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from numbers import Integral
from typing import Any, cast

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from sr_imaging.errors import ConfigError
from sr_imaging.inference.options import EngineSettings
from sr_imaging.networks import PLANE_AXES, Generator
from sr_imaging.networks.device import pick_device

from .wrappers import BothPlanes, Windowed

__all__ = ["SMALLEST_TILE", "Engine", "make_engine", "tile_shape"]

_MEMORY_SHARE = 0.25  # of what is free: others work on this machine too
_MOST_MEMORY = 2 << 30  # bytes; larger tiles are no faster, measured in benchmarks/tiles.py
_LARGEST_TILE = {"cpu": (256, 64), "cuda": (1024, 192)}  # 2-D and 3-D, LR pixels
SMALLEST_TILE = 8  # LR pixels; below this a pass is nearly all context


@dataclass(frozen=True)
class Engine:
    """A generator made ready for a device."""

    generator: Generator  # on `device`, in evaluation mode, never one of the caller's own objects
    device: str  # cpu, cuda, cuda:1, ...
    precision: str  # float32 or bf16
    tile: tuple[int, ...]  # most LR pixels of a tile along each axis of the generator
    pixels: int  # LR pixels, halo included, that one pass takes at most; small images go together

    def images_in_pass(self, shape: Sequence[int]) -> int:
        """Return the number of images of `shape` LR pixels whose tiles go through the network together."""
        halo = self.generator.halo or (0,) * len(self.tile)
        taken = (min(n, t) + 2 * h for n, t, h in zip(shape, self.tile, halo, strict=True))
        return max(1, self.pixels // max(prod(taken), 1))

    @property
    def needs_whole(self) -> bool:
        """Whether the generator must see the whole image at once."""
        return isinstance(self.generator, Windowed)


def make_engine(generator: Generator, asked: EngineSettings | None = None) -> Engine:
    """Return an engine that runs a copy of a generator; raises ConfigError for what is impossible here."""
    asked = asked or EngineSettings()
    device = pick_device(asked.device)
    precision = _choose_precision(asked.precision, device, generator)
    module = copy.deepcopy(cast(nn.Module, generator)).to(device).eval().requires_grad_(False)
    ready: Any = module
    if generator.axes == PLANE_AXES:
        ready = BothPlanes(ready)
    layout = torch.channels_last if generator.spatial_dims == 2 else torch.channels_last_3d
    module.to(memory_format=layout)  # type: ignore[call-overload]
    shape, pixels = tile_shape(ready, budget=_memory_budget(asked.max_memory, device), device=device)
    if asked.tile is not None:
        shape = _check_tile(asked.tile, ready.spatial_dims)
    if generator.halo is None:
        return Engine(Windowed(ready, shape), device, precision, (sys.maxsize,) * ready.spatial_dims, 1)
    return Engine(ready, device, precision, shape, pixels)


def _choose_precision(precision: str, device: str, generator: Generator) -> str:
    """Return float32 or bf16."""
    if precision not in ("auto", "float32", "bf16"):
        raise ConfigError(f"unknown precision {precision!r}; use 'auto', 'float32' or 'bf16'")
    if precision != "auto":
        return precision
    loss = getattr(getattr(generator, "card", None), "bf16_loss_db", None)
    return "bf16" if device != "cpu" and loss is not None and loss < 0.02 else "float32"


def _check_tile(tile: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """Return a tile that the caller asked for, one number for each axis."""
    numbers = (tile,) * dims if np.ndim(tile) == 0 else tuple(cast("Sequence[int]", tile))
    shape = tuple(int(n) for n in numbers if isinstance(n, Integral))
    if len(shape) != len(numbers) or len(shape) != dims or min(shape) < 1:
        raise ConfigError(f"tile {tile!r} does not fit {dims} axes; give one number or {dims} of at least 1")
    return shape


def _memory_budget(max_memory: int | None, device: str) -> int:
    """Return the bytes that one pass may take."""
    if max_memory is not None:
        return max_memory
    free = torch.cuda.mem_get_info(device)[0] if device != "cpu" else psutil.virtual_memory().available
    return int(min(free * _MEMORY_SHARE, _MOST_MEMORY))


def tile_shape(generator: Generator, *, budget: int, device: str) -> tuple[tuple[int, ...], int]:
    """Return the LR pixels along each axis of the fastest tile that fits `budget` bytes, and those of a pass.

    The generator is measured by running it once on a few pixels. The largest useful tile of a CPU is one
    whose features stay in its cache.
    """
    dims = generator.spatial_dims
    halo = generator.halo or (0,) * dims
    most = _LARGEST_TILE["cpu" if device == "cpu" else "cuda"][dims - 2]
    largest = prod(most + 2 * h for h in halo)
    pixels = max(1, min(budget // _bytes_per_pixel(generator), largest))
    side = int(pixels ** (1 / dims) + 1e-6)
    return tuple(max(SMALLEST_TILE, min(most, side - 2 * h)) for h in halo), pixels


def _bytes_per_pixel(generator: Generator) -> int:
    """Return the most bytes per LR pixel that a layer holds: input, output, and as much for the workspace."""
    module = cast(nn.Module, generator)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    halo = generator.halo or (0,) * generator.spatial_dims
    multiple = getattr(generator, "multiple", 1)
    shape = [ceil(16 / multiple) * multiple + 2 * h for h in halo]
    peak = [0]

    def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        held = sum(t.numel() for t in (*inputs, output) if isinstance(t, Tensor))
        peak[0] = max(peak[0], held + (output.numel() if isinstance(output, Tensor) else 0))

    hooks = [m.register_forward_hook(note) for m in module.modules() if not list(m.children()) or m is module]
    more = {}
    if bands := getattr(generator, "guide_channels", 0):
        fine = [int(n * s) for n, s in zip(shape, generator.scale, strict=True)]
        more["guide"] = torch.zeros(1, bands, *fine, device=device)
    with torch.inference_mode():
        cast(Any, generator)(torch.zeros(1, generator.in_channels, *shape, device=device), **more)
    for hook in hooks:
        hook.remove()
    return max(4 * peak[0] // prod(shape), 4)
