"""Scans of a training run decoded, checked, and kept in memory as far as it suffices."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from monai.data.dataset import CacheDataset
from monai.transforms.compose import Compose

from sr_imaging.errors import ConfigError
from sr_imaging.training.config.data import DataConfig

from .loading import LoadScand
from .patch_sizes import PatchPlan
from .scan_list import TrainingScan
from .transforms import ContextPadd, RandPlaned, item_views, plain_tensors

__all__ = ["DecodedScans", "cached_scans", "check_bands", "check_units"]

_BYTES = 4  # of a decoded value, float32


@dataclass(frozen=True)
class DecodedScans:
    """Scans that planes can be drawn from."""

    planes: CacheDataset  # dicts of ``hr`` (C, *n), ``hr_std`` of its scan, and ``lr`` and ``guide`` if any
    facts: tuple[Mapping[str, Any], ...]  # of each scan, from `LoadScand`, with ``shape`` and ``views``
    units: Mapping[str, Any]  # the unit that scans state, if any does, and the first of them


def cached_scans(scans: Sequence[Any], data: DataConfig, plan: PatchPlan) -> DecodedScans:
    """Return scans decoded and checked; those beyond ``data.cache_gb`` are decoded anew whenever drawn from.

    Raises `ConfigError` if a scan has no image of the size, axes or bands that the plan needs, values that
    are not declared, or another unit than the others.
    """
    lr_crop = [p + 2 * h for p, h in zip(plan.patch, plan.halo, strict=True)]
    keys = ["hr", *(["guide"] if plan.guide_channels else [])]
    pads = [ContextPadd(keys, context=plan.context, below=[2 * size for size in plan.crop])]
    if data.lr:
        pads.append(ContextPadd("lr", context=plan.halo, below=[2 * size for size in lr_crop]))
    draw = RandPlaned("hr", axes=plan.axes, in_channels=plan.in_channels, least=plan.target, scale=plan.scale)
    load = LoadScand(
        "hr", clip=data.clip, kept=(0.0, 1.0 - data.held_out), nan=data.nan, max_shift=data.max_shift
    )
    items: list[dict[Hashable, Any]] = [{"hr": scan} for scan in scans]
    kept = _count_fitting(scans, data)
    facts = []
    with plain_tensors():
        planes = CacheDataset(
            items,
            Compose([load, draw, *pads], log_stats=False),
            cache_num=kept,
            copy_cache=False,  # no random transform writes to the scan
            num_workers=1,
            progress=False,
        )
        for number, scan in enumerate(scans):
            loaded = planes._cache[number] if number < kept else load(items[number])
            facts.append(_check_scan(scan, loaded, plan))
    units = check_units({}, scans, facts)
    if not any(one["valid"] for one in facts):
        raise ConfigError("the scans are all nodata or constant; choose others")
    return DecodedScans(planes, tuple(facts), units)


def _count_fitting(scans: Sequence[Any], data: DataConfig) -> int:
    """Return how many of the first scans fit into memory; those of unknown size count nothing."""
    room, count = data.cache_gb * 2**30, 0
    for scan in scans:
        parts = (scan.hr, scan.lr, scan.guide) if isinstance(scan, TrainingScan) else (scan,)
        room -= sum(_BYTES * prod(shape) for part in parts if (shape := getattr(part, "shape", ())))
        if room < 0:
            break
        count += 1
    return count


def _check_scan(scan: Any, item: Mapping[Any, Any], plan: PatchPlan) -> dict[str, Any]:
    """Return the facts of a scan, or raise unless patches can be drawn from it."""
    hr, facts = item["hr"], item["hr_facts"]
    name, shape = getattr(scan, "path", scan), tuple(hr.shape[1:])
    check_bands(scan, item, plan)
    found = item_views(item, "hr", axes=plan.axes, scale=plan.scale, least=plan.target)
    if (
        not found
        and "lr" in item
        and not item_views(item, "hr", axes=plan.axes, scale=plan.scale, least=[1] * len(plan.axes))
    ):
        raise ConfigError(
            f"{name} and its LR scan have the factors {item['lr_scale']}, the model has {plan.scale} on the "
            f"axes {plan.axes}; set model.arguments.scale to theirs"
        )
    if not found:
        raise ConfigError(
            f"{name} of shape {shape} and spacing {facts['spacing']} has no fine plane of {plan.target} "
            f"pixels for the axes {plan.axes}; leave it out or lower data.patch"
        )
    valid = facts["valid"] if max(facts["std"]) > 0 else 0  # a constant scan has nothing to draw
    return {**facts, "valid": valid, "shape": tuple(hr.shape), "views": found}


def check_bands(scan: Any, item: Mapping[Any, Any], plan: PatchPlan) -> None:
    """Raise `ConfigError` unless a scan, as loaded, and its partners have the bands that a model takes."""
    hr, name = item["hr"], getattr(scan, "path", scan)
    if plan.in_channels not in (1, hr.shape[0]):
        raise ConfigError(
            f"{name} has {hr.shape[0]} bands, the model takes {plan.in_channels}; use in_channels = 1"
        )
    if "lr" in item and item["lr"].shape[0] != hr.shape[0]:
        raise ConfigError(
            f"{name} has {hr.shape[0]} bands, its LR scan {item['lr'].shape[0]}; give both the same bands"
        )
    if "guide" in item and item["guide"].shape[0] != plan.guide_channels:
        raise ConfigError(
            f"the guide of {name} has {item['guide'].shape[0]} bands, the model takes {plan.guide_channels}; "
            "set guide_channels to it"
        )


def check_units(
    known: Mapping[str, Any], scans: Sequence[Any], facts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the unit that scans state and the first of them; raise where they state different ones."""
    first = dict(known)
    for scan, one in zip(scans, facts, strict=True):
        for unit, path in one["values"].items():
            first.setdefault(unit, path or getattr(scan, "path", scan))
    if len(first) > 1:
        (unit, path), (other, another) = list(first.items())[:2]
        raise ConfigError(f"{path} is in {unit} and {another} in {other}; train on scans of one unit")
    return first
