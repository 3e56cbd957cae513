"""The card of a trained model, filled from the run itself."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from math import isnan
from typing import Any

from sr_imaging import __version__
from sr_imaging.degradation.settings import describe
from sr_imaging.image.grid.pixel_spacing import METRES_PER_DEGREE
from sr_imaging.models.card import ModelCard
from sr_imaging.networks import PLANE_AXES
from sr_imaging.training.config.run import TrainConfig
from sr_imaging.training.data.batches import PatchBatches

__all__ = ["run_card", "training_spacing"]


def run_card(
    config: TrainConfig,
    batches: PatchBatches,
    generator: Any,
    *,
    name: str,
    figures: Mapping[str, float],
    images: int,
) -> ModelCard:
    """Return the card of a trained model; `figures` of the validation on `images` images may be empty."""
    card = ModelCard.of(
        generator, name=name, architecture=config.model.architecture, arguments=config.model.arguments
    )
    spacing, unit = training_spacing(batches)
    metrics: dict[str, Any] = {key: round(value, 4) for key, value in figures.items() if not isnan(value)}
    if metrics:
        metrics["gain_db"] = round(figures["psnr"] - figures["psnr_cubic"], 3)
        plural = "" if images == 1 else "s"
        metrics["data"] = f"{images} held-out image{plural}, range between the 0.5 and 99.5 percentiles"
    packages = ("torch", "monai", "numpy")
    return replace(
        card,
        modality=config.modality,
        value_range=_find_value_range(batches) if generator.fixed_values is not None else None,
        spacing_range=spacing,
        spacing_unit=unit,
        degradation=describe(config.degradation, real=bool(config.data.lr)),
        metrics=metrics,
        data_sources=config.data_sources or config.data.train,
        licence=config.licence,
        description=config.description,
        versions={"sr_imaging": __version__, **{package: version(package) for package in packages}},
    )


def training_spacing(batches: PatchBatches) -> tuple[tuple[float, float] | None, str]:
    """Return the smallest and largest LR spacing of the refined axes, and their unit.

    Rasters in degrees count in metres of latitude; scans without a stated spacing do not count.
    """
    plan = batches.plan
    found: list[float] = []
    units = set()
    for facts in batches.scans.facts:
        if not facts["unit"]:
            continue
        factor = METRES_PER_DEGREE if facts["unit"] == "degree" else 1.0
        units.add("m" if facts["unit"] == "degree" else facts["unit"])
        for view in facts["views"]:
            ends = zip(view, plan.factors or [(s, s) for s in plan.scale], strict=True)
            found += [facts["spacing"][axis] * s * factor for axis, pair in ends for s in pair if s > 1]
            if batches.data.own:  # to be refined as they are, thick slices along their first axis
                refined = zip(view, plan.scale, strict=True)
                own = [0] if plan.axes == PLANE_AXES else [axis for axis, s in refined if s > 1]
                found += [facts["spacing"][axis] * factor for axis in own]
    if len(units) != 1:
        return None, ""
    return (float(f"{min(found):.4g}"), float(f"{max(found):.4g}")), units.pop()


def _find_value_range(batches: PatchBatches) -> tuple[float, float] | None:
    """Return the smallest and largest value of the scans."""
    ranges = [facts["range"] for facts in batches.scans.facts if facts["range"]]
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None
