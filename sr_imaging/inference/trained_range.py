"""What a model was trained on, and where an image lies outside it: spacing, modality, values."""

import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sr_imaging.errors import ModelError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.pixel_spacing import METRES_PER_DEGREE, spacing, spacing_unit
from sr_imaging.image.pixels.values import Values
from sr_imaging.models.card import ModelCard

from .request import dims_of_axes

if TYPE_CHECKING:
    from .model_choice import Choice

__all__ = ["TrainedValues", "check_trained_range", "model_fit", "trained_values"]

log = logging.getLogger(__name__)
_SLACK = 0.05  # of a range: a few per cent beyond it raise no doubt
_CHECKED = 2**22  # values decoded at once to look at their range


def model_fit(card: ModelCard, da: xr.DataArray) -> list[str]:
    """Return where an image lies outside what a model was trained on.

    :func:`sr_imaging.upscale` warns of the same, and with ``strict=True`` raises. Pixels are not looked at:
    whether values lie outside the range of a model with fixed values is found as they are super-resolved.

    Parameters
    ----------
    card : ModelCard
        Of the model, from :func:`sr_imaging.list_models` or ``load_model(path).card``.
    da : DataArray
        The image. A spacing in degrees is compared in metres; one in another unit than the card's is not
        compared.

    Returns
    -------
    list of str
        One clause for each doubt, with the value and the trained range; empty where the image fits.

    Raises
    ------
    GridError
        If a spatial coordinate is uneven.
    ModelError
        If the image lacks an axis that the model works on.

    Examples
    --------
    >>> import numpy as np, xarray as xr, sr_imaging
    >>> (card,) = [card for card in sr_imaging.list_models() if card.name == "raster-x2"]
    >>> lr = xr.DataArray(np.eye(3), dims=("y", "x"), coords={"y": [2e3, 1e3, 0], "x": [0, 90.0, 180.0]})
    >>> sr_imaging.model_fit(card, lr)
    ['y spacing 1000 outside the trained 0.1995 to 180 m']
    """
    dims = dims_of_axes(card.name, card.axes, spatial_dims(da))
    spans = card.scale_range or [(s, s) for s in card.scale]
    return _find_doubts(card, da, [dim for dim, (_, high) in zip(dims, spans, strict=False) if high != 1])


def check_trained_range(da: xr.DataArray, choice: "Choice", strict: bool, *, stacklevel: int) -> None:
    """Warn where an image lies outside what the chosen model was trained on; raise ModelError if `strict`."""
    card: ModelCard | None = getattr(choice.generator, "card", None)
    if card is None:
        return
    factors = choice.scale if choice.interpolated else choice.model_scale
    doubts = _find_doubts(card, da, [dim for dim in choice.dims if factors[dim] != 1])
    if doubts and strict:
        raise ModelError(f"{choice.name} does not fit: {'; '.join(doubts)}; drop strict=True to try it")
    for doubt in doubts:
        warnings.warn(f"{choice.name}: {doubt}; check the result", stacklevel=stacklevel)


def _find_doubts(card: ModelCard, da: xr.DataArray, refined: Iterable[Any]) -> list[str]:
    """Return one clause for the modality and for the spacing of each refined dim that was not trained."""
    doubts = []
    if "volume_ref" in da.coords and card.modality in ("CT", "MR"):
        modality = da.coords["volume_ref"].attrs.get("modality", card.modality)
        if modality != card.modality:
            doubts.append(f"modality {modality} where it was trained on {card.modality}")
    if card.spacing_range is None:
        return doubts
    low, high = card.spacing_range
    have = spacing(da)
    for dim in refined:
        unit = spacing_unit(da, dim)
        if dim not in have or unit not in ("", "degree", card.spacing_unit):
            continue
        step = have[dim] * METRES_PER_DEGREE if (unit, card.spacing_unit) == ("degree", "m") else have[dim]
        if not low * (1 - _SLACK) <= step <= high * (1 + _SLACK):
            doubts.append(
                f"{dim} spacing {step:g} outside the trained {low:g} to {high:g} {card.spacing_unit}"
            )
    return doubts


@dataclass(frozen=True)
class TrainedValues:
    """The values that a model of fixed values was trained on."""

    low: float  # in physical units
    high: float
    strict: bool = False  # raise where values lie outside, instead of warning in the log

    def check(self, block: np.ndarray, values: Values) -> None:
        """Warn in the log, or raise ModelError, where stored values of a block lie outside."""
        flat, seen = block.reshape(-1), [np.nan, np.nan]
        for start in range(0, flat.size, _CHECKED):  # floats of all of it would be as large again
            decoded = values.decode(flat[start : start + _CHECKED])
            if (finite := decoded[np.isfinite(decoded)]).size:
                seen = [np.fmin(seen[0], finite.min()), np.fmax(seen[1], finite.max())]
        slack = _SLACK * (self.high - self.low)
        if seen[0] < self.low - slack or seen[1] > self.high + slack:
            found, trained = f"{seen[0]:g} to {seen[1]:g}", f"{self.low:g} to {self.high:g}"
            words = f"values from {found} lie outside the trained {trained}"
            if self.strict:
                raise ModelError(f"{words}; drop strict=True to try it")
            log.warning("%s; check the result", words)


def trained_values(choice: "Choice", strict: bool) -> TrainedValues | None:
    """Return the range that a model of fixed values states; None for the others, which take any values."""
    card: ModelCard | None = getattr(choice.generator, "card", None)
    if card is None or card.values["kind"] != "fixed" or card.value_range is None:
        return None
    return TrainedValues(*card.value_range, strict)
