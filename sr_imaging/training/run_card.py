"""The card of a trained model, filled from the run itself."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from math import isnan
from typing import Any

from sr_imaging import __version__
from sr_imaging.image.grid.reference import METRES_PER_DEGREE
from sr_imaging.models.card import ModelCard
from sr_imaging.networks import PLANE_AXES
from sr_imaging.training.config.data import DegradationConfig, as_range
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
        plural = "" if images == 1 else "s"
        metrics["data"] = f"{images} held-out image{plural}, range between the 0.5 and 99.5 percentiles"
    packages = ("torch", "monai", "numpy")
    return replace(
        card,
        modality=config.modality,
        value_range=_training_values(batches) if generator.fixed_values is not None else None,
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


def _training_values(batches: PatchBatches) -> tuple[float, float] | None:
    """Smallest and largest value of the scans."""
    ranges = [facts["range"] for facts in batches.scans.facts if facts["range"]]
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def describe(degradation: DegradationConfig, *, real: bool = False) -> str:
    """Return one sentence on how LR was made.

    Parameters
    ----------
    degradation : DegradationConfig
        The settings.
    real : bool
        LR are scans of their own; the point-spread function is that of the instruments.

    Examples
    --------
    >>> describe(DegradationConfig())
    'Gaussian of 0.4 LR pixels, then area mean'
    >>> describe(DegradationConfig(psf="slr", thickness=0.8, noise="rician", noise_sigma=(0.0, 0.1)))
    'slr slice of 0.8 of the slice distance, rician noise of 0 to 0.1 standard deviations of the scan'
    """
    if real:
        text = "real pairs of scans"
    else:
        kinds = (degradation.psf,) if isinstance(degradation.psf, str) else degradation.psf
        text = " and ".join(dict.fromkeys(_profile(degradation, kind) for kind in kinds))
    if degradation.noise == "none":
        return text
    strength = _span(degradation.noise_sigma)
    text = f"{text}, {degradation.noise} noise of {strength} standard deviations of the scan"
    if degradation.noise == "poisson-gaussian":
        text += f" and {_span(degradation.noise_gain)} of them as variance per signal"
    return text


def _profile(degradation: DegradationConfig, kind: str) -> str:
    """Words for one point-spread function."""
    if kind != "gaussian":
        thickness = _span(degradation.thickness)
        return (
            "area mean"
            if (kind, thickness) == ("box", "1")
            else f"{kind} slice of {thickness} of the slice distance"
        )
    if degradation.fwhm is not None:
        return f"Gaussian of {_span(degradation.fwhm)} LR pixels at half maximum, then area mean"
    if degradation.mtf is not None:
        return f"Gaussian and area mean of transfer {_span(degradation.mtf)} at the Nyquist frequency"
    return f"Gaussian of {_span(degradation.sigma)} LR pixels, then area mean"


def _span(value: float | tuple[float, float]) -> str:
    """Words for a number or a range."""
    low, high = as_range(value)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
