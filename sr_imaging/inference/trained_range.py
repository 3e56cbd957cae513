"""Whether an image is what the model was trained on."""

import warnings

import xarray as xr

from sr_imaging.errors import ModelError
from sr_imaging.image.grid.pixel_spacing import METRES_PER_DEGREE, spacing_unit
from sr_imaging.image.grid.pixel_spacing import spacing as grid_spacing
from sr_imaging.models.card import ModelCard

from .model_choice import Choice


def trained_values(choice: Choice) -> tuple[float, float] | None:
    """Range of the values that a model of fixed values states; any values do for the others."""
    card: ModelCard | None = getattr(choice.generator, "card", None)
    return None if card is None or card.values["kind"] != "fixed" else card.value_range


def check_trained_range(da: xr.DataArray, choice: Choice, strict: bool) -> None:
    """Warn, or raise, where the spacing or the modality is not what the model was trained on."""
    card: ModelCard | None = getattr(choice.generator, "card", None)
    if card is None:
        return
    doubts = []
    if "volume_ref" in da.coords and card.modality in ("CT", "MR"):
        modality = da.coords["volume_ref"].attrs.get("modality", card.modality)
        if modality != card.modality:
            doubts.append(f"modality {modality} where it was trained on {card.modality}")
    have = grid_spacing(da)
    for dim in choice.dims:
        factor = choice.scale[dim] if choice.interpolated else choice.model_scale[dim]
        if card.spacing_range is None or factor == 1 or dim not in have:
            continue
        unit = spacing_unit(da, dim)
        step = have[dim] * METRES_PER_DEGREE if (unit, card.spacing_unit) == ("degree", "m") else have[dim]
        if unit not in ("", "degree", card.spacing_unit):
            continue
        low, high = card.spacing_range
        if not low * 0.95 <= step <= high * 1.05:  # a few per cent are no doubt
            doubts.append(
                f"{dim} spacing {step:g} outside the trained {low:g} to {high:g} {card.spacing_unit}"
            )
    if doubts and strict:
        raise ModelError(f"{choice.name} does not fit: {'; '.join(doubts)}; drop strict=True to try it")
    for doubt in doubts:
        warnings.warn(f"{choice.name}: {doubt}; check the result", stacklevel=3)
