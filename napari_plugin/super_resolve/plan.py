"""What a run would do, before it runs: shapes, spacing, memory, and the reason where it cannot."""

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_plugin.layers import LayerImage
from napari_plugin.super_resolve.model_judgement import any_factor, doubts, model_factors, refusal

if TYPE_CHECKING:
    from sr_imaging import ModelCard

__all__ = ["Plan", "Settings", "free_memory", "grid_rows", "make_plan", "size_text"]

_SPARE = 0.9  # share of the free memory that a result may take


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    model: str  # bundled name, path, or classical method
    card: "ModelCard | None" = None  # None for a classical method
    scale: dict[str, float] = field(default_factory=dict)  # by axis, of what does any factor
    device: str = "auto"
    tile: int | None = None  # LR pixels; chosen by the memory if None
    is_lazy: bool = False  # the result is computed where it is shown, and never whole

    def arguments(self, image: LayerImage) -> dict[str, Any]:
        """Keyword arguments of ``sr_imaging.upscale`` that are not at their default."""
        arguments: dict[str, Any] = {}
        if any_factor(self.card):
            arguments["scale"] = {
                axis: _as_int_if_whole(self.scale.get(axis, 1)) for axis in image.axes if axis
            }
        if self.device != "auto":
            arguments["device"] = self.device
        if self.tile:
            arguments["tile"] = self.tile
        return arguments


@dataclass(frozen=True)
class Plan:
    """What a run would make of a layer."""

    image: LayerImage
    settings: Settings
    factors: tuple[float, ...]  # fine pixels per coarse pixel along each data axis
    shape: tuple[int, ...]  # pixels of the result
    nbytes: int  # of the result
    refusal: str = ""  # why it cannot run; empty where it can
    doubts: tuple[str, ...] = ()  # what to check in the result

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of pixel centres of the result along each axis."""
        return tuple(d / s for d, s in zip(self.image.spacing, self.factors, strict=True))


def make_plan(image: LayerImage, settings: Settings, *, free: int | None = None) -> Plan:
    """Return what a run would make of a layer, with a refusal where it cannot run.

    `free` are the bytes of free memory, which the system is asked for by default.
    """
    card = settings.card
    by_axis = settings.scale if card is None or any_factor(card) else model_factors(card)
    factors = tuple(float(by_axis.get(axis, 1)) if axis else 1.0 for axis in image.axes)
    shape = tuple(round(n * s) for n, s in zip(image.shape, factors, strict=True))
    nbytes = prod(shape) * max(1, image.colours) * image.dtype.itemsize
    reason = _refuse_pixels(image) or (refusal(card, image, settings.scale) if card is not None else "")
    if not reason and all(s == 1 for s in factors):
        reason = "nothing would become finer; raise the scale of an axis"
    if not reason and not settings.is_lazy:
        reason = _refuse_size(image, nbytes, free_memory() if free is None else free)
    found = tuple(doubts(card, image)) if card is not None and not reason else ()
    return Plan(image, settings, factors, shape, nbytes, reason, found)


def free_memory() -> int:
    """Return the memory that programs may still take, in bytes."""
    import psutil

    return int(psutil.virtual_memory().available)


def grid_rows(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """Return, for each axis, its name, pixels and spacing now, and pixels and spacing of the result."""
    image = plan.image
    rows = []
    for k, dim in enumerate(image.dims):
        unit = _abbreviate_unit(image.units[k])
        spacing = [f"{d:.4g} {unit}" if image.axes[k] else "" for d in (image.spacing[k], plan.spacing[k])]
        rows.append((dim, str(image.shape[k]), spacing[0], str(plan.shape[k]), spacing[1]))
    return rows


def size_text(nbytes: int) -> str:
    """Return a size in memory for a reader.

    Examples
    --------
    >>> size_text(25_165_824)
    '24 MiB'
    """
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if nbytes >= 2**power:
            return f"{nbytes / 2**power:.3g} {unit}"
    return f"{nbytes} B"


def _abbreviate_unit(unit: str) -> str:
    """Return the symbol of a unit."""
    import pint

    return f"{pint.Unit(unit):~}"


def _as_int_if_whole(s: float) -> float:
    """Return a factor, a whole one as int so that it prints as one."""
    return int(s) if s == int(s) else s


def _refuse_pixels(image: LayerImage) -> str:
    """Return why pixels of this kind or shape cannot be refined; empty where they can."""
    if np.dtype(image.dtype).kind not in "biuf":
        return f"pixels of type {image.dtype} are not real numbers; convert the layer, e.g. with np.abs"
    if not prod(image.shape):
        return "the layer has no pixels; choose another"
    return ""


def _refuse_size(image: LayerImage, nbytes: int, free: int) -> str:
    """Return why a result does not fit into memory; empty where it does."""
    need = nbytes * (2 if image.is_lazy else 1)  # parts of a lazy layer are gathered into one array
    if need <= _SPARE * free:
        return ""
    return (
        f"the run needs {size_text(need)} and {size_text(free)} of memory is free; "
        "crop the layer, lower the scale, or tick Lazy result"
    )
