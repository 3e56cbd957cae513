"""The card of a trained model, filled from the run itself."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from math import isnan
from typing import Any

from . import __version__
from .config import DegradationConfig, TrainConfig, as_range
from .model_file import ModelCard
from .patches import PatchBatches
from .transforms import views

__all__ = ["run_card", "training_spacing"]

METRES_PER_DEGREE = 111_320.0  # of latitude; spacings of rasters in degrees are stated in metres


def run_card(
    config: TrainConfig,
    batches: PatchBatches,
    generator: Any,
    *,
    name: str,
    figures: Mapping[str, float],
    images: int,
) -> ModelCard:
    """Return the card of a model.

    Parameters
    ----------
    config : TrainConfig
        Settings of the run.
    batches : PatchBatches
        Knows the scans.
    generator : Generator
        The trained network.
    name : str
        Name of the model.
    figures : mapping
        Validation figures by name; may be empty.
    images : int
        Number of validation images.

    Returns
    -------
    ModelCard
        Ready for :func:`sr_imaging.save_model`.
    """
    card = ModelCard.of(
        generator, name=name, architecture=config.model.architecture, arguments=config.model.arguments
    )
    spacing, unit = training_spacing(batches)
    metrics: dict[str, Any] = {key: round(value, 4) for key, value in figures.items() if not isnan(value)}
    if metrics:
        metrics["gain_db"] = round(figures["psnr"] - figures["psnr_cubic"], 3)
        metrics["data"] = f"{images} held-out images, range between the 0.5 and 99.5 percentiles"
    packages = ("torch", "monai", "numpy")
    return replace(
        card,
        modality=config.modality,
        spacing_range=spacing,
        spacing_unit=unit,
        degradation=describe(config.degradation),
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
    for item in batches.scans._cache:
        facts = item["hr_facts"]
        if not facts["unit"]:
            continue
        factor = METRES_PER_DEGREE if facts["unit"] == "degree" else 1.0
        units.add("m" if facts["unit"] == "degree" else facts["unit"])
        for view in views(facts["spacing"], plan.axes, shape=item["hr"].shape[1:], least=plan.target):
            pairs = zip(view, plan.scale, strict=True)
            found += [facts["spacing"][axis] * s * factor for axis, s in pairs if s > 1]
    if len(units) != 1:
        return None, ""
    return (float(f"{min(found):.4g}"), float(f"{max(found):.4g}")), units.pop()


def describe(degradation: DegradationConfig) -> str:
    """Return one sentence on how LR was made.

    Examples
    --------
    >>> describe(DegradationConfig())
    'Gaussian of 0.4 LR pixels, then area mean'
    """
    low, high = as_range(degradation.sigma)
    width = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    text = "area mean" if degradation.psf == "box" else f"Gaussian of {width} LR pixels, then area mean"
    if degradation.noise == "none":
        return text
    low, high = as_range(degradation.noise_sigma)
    return f"{text}, {degradation.noise} noise of {low:g} to {high:g} standard deviations of the scan"
