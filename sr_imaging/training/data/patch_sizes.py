"""Sizes of patches: what follows from the generator and the settings, one number per axis."""

from dataclasses import dataclass
from typing import Any

from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.degradation.tensors import any_margin
from sr_imaging.errors import ConfigError
from sr_imaging.training.config.data import DataConfig

__all__ = ["PatchPlan"]


@dataclass(frozen=True)
class PatchPlan:
    """Sizes that follow from the generator and the settings, one number per axis."""

    axes: tuple[str, ...]
    in_channels: int
    scale: tuple[int, ...]
    halo: tuple[int, ...]  # LR pixels
    patch: tuple[int, ...]  # side without halo, in LR pixels
    margin: tuple[int, ...]  # HR pixels that the point-spread function sees beyond the LR patch
    fixed_values: tuple[float, float] | None = None  # offset and scale, of a generator not equivariant
    guide_channels: int = 0
    factors: tuple[tuple[float, float], ...] | None = None  # to draw from, by axis, where any factor goes

    @classmethod
    def of(cls, generator: Any, data: DataConfig, degradation: DegradationConfig) -> "PatchPlan":
        """Return the plan of a generator; one without halo trains on patches without context.

        Raises `ConfigError` if a setting does not fit the generator.
        """
        dims = generator.spatial_dims
        patch = (data.patch,) * dims if isinstance(data.patch, int) else data.patch
        if len(patch) != dims:
            raise ConfigError(
                f"data.patch {patch} must have one number for each of the axes {generator.axes}; correct it"
            )
        multiple = getattr(generator, "multiple", 1)
        if any(side % multiple for side in patch):
            example = tuple(max(multiple, side // multiple * multiple) for side in patch)
            raise ConfigError(
                f"data.patch {patch} has a side that is not a multiple of {multiple}, as the generator "
                f"needs; give for example {example}"
            )
        guide_channels = getattr(generator, "guide_channels", 0)
        _check_guide(guide_channels, data)
        scale = tuple(int(s) for s in generator.scale)
        factors = _choose_factors(generator, data, degradation)
        return cls(
            axes=tuple(generator.axes),
            in_channels=generator.in_channels,
            scale=scale,
            halo=tuple(generator.halo or (0,) * dims),
            patch=tuple(patch),
            margin=_find_margins(scale, factors, data, degradation),
            fixed_values=generator.fixed_values,
            guide_channels=guide_channels,
            factors=factors,
        )

    @property
    def target(self) -> tuple[int, ...]:
        """Return the sides of the HR patch, in HR pixels."""
        return tuple(p * s for p, s in zip(self.patch, self.scale, strict=True))

    @property
    def context(self) -> tuple[int, ...]:
        """Return the HR pixels drawn around the HR patch on each side."""
        return tuple(h * s + m for h, s, m in zip(self.halo, self.scale, self.margin, strict=True))

    @property
    def crop(self) -> tuple[int, ...]:
        """Return the sides of what is cut from a scan, in HR pixels."""
        return tuple(t + 2 * c for t, c in zip(self.target, self.context, strict=True))


def _check_guide(guide_channels: int, data: DataConfig) -> None:
    """Raise unless there are guides exactly where the generator takes one."""
    if guide_channels and not data.guide:
        raise ConfigError(f"this generator needs a guide of {guide_channels} bands; name it in data.guide")
    if data.guide and not guide_channels:
        raise ConfigError(
            "data.guide is given, but this generator takes no guide; use 'guided' or leave it out"
        )


def _choose_factors(
    generator: Any, data: DataConfig, degradation: DegradationConfig
) -> tuple[tuple[float, float], ...] | None:
    """Return the range of factors of each axis of a generator for any factor; None for others."""
    span = getattr(generator, "scale_range", None)
    if span is None:
        if degradation.scale is not None:
            raise ConfigError(
                f"degradation.scale is for generators of any factor, this one has {tuple(generator.scale)}; "
                "leave it out"
            )
        return None
    if data.lr:
        raise ConfigError("a generator of any factor learns from simulated pairs; leave data.lr out")
    low, high = degradation.scale or (1.0, float("inf"))
    chosen = tuple(
        (max(low, own[0]), min(high, own[1])) if own[1] > 1 else (1.0, 1.0) for own in map(tuple, span)
    )
    if any(first > last for first, last in chosen):
        raise ConfigError(
            f"degradation.scale {degradation.scale} is outside the generator's {span}; correct it"
        )
    return chosen


def _find_margins(
    scale: tuple[int, ...],
    factors: tuple[tuple[float, float], ...] | None,
    data: DataConfig,
    degradation: DegradationConfig,
) -> tuple[int, ...]:
    """Return the HR pixels that the widest point-spread function sees; 0 for a real pair."""
    if data.lr:
        return (0,) * len(scale)
    if factors is None:
        return degradation.margins(scale)
    widest = degradation.widest(len(scale))
    return tuple(max(any_margin(one, s) for one in widest[k] for s in span) for k, span in enumerate(factors))
