"""What a model does to a layer, and where the layer lies outside what it was trained for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from napari_plugin.layers import LayerImage, to_outline, unit_factor
from sr_imaging import model_fit
from sr_imaging.image.grid.axes import AXES
from sr_imaging.image.grid.pixel_spacing import has_thick_slices

if TYPE_CHECKING:
    from sr_imaging import ModelCard

__all__ = ["CLASSICAL", "any_factor", "best_model", "card_text", "doubts", "model_factors", "refusal"]

CLASSICAL = ("cubic", "wiener", "back-projection", "linear", "lanczos", "fourier", "nearest")
_THROUGH_PLANE = "plane"  # the name a through-plane model gives the two axes that it keeps
_BANDS = ("band", "bands", "channel", "channels", "wavelength")


def model_factors(card: "ModelCard") -> dict[str, float]:
    """Return the fine pixels per coarse pixel that a model makes along the axes that it refines.

    Examples
    --------
    >>> from sr_imaging import ModelCard
    >>> card = ModelCard("a", "espcn", {}, scale=(4.0, 1.0), axes=("z", "plane"), spatial_dims=2)
    >>> model_factors(card)
    {'z': 4.0}
    """
    return {
        axis: s for axis, s in zip(card.axes, card.scale, strict=True) if axis != _THROUGH_PLANE and s != 1
    }


def any_factor(card: "ModelCard | None") -> bool:
    """Return whether the user says by how much: classical methods, and models for any factor in a range."""
    return card is None or card.scale_range is not None


def needed_axes(card: "ModelCard") -> tuple[str, ...]:
    """Return the axes that an image must have for a model."""
    return AXES if _THROUGH_PLANE in card.axes else tuple(card.axes)


def refusal(card: "ModelCard", image: LayerImage, scale: Mapping[str, float] | None = None) -> str:
    """Return why a model cannot run on a layer, and what would help; empty where it can.

    `scale` has the factors that are asked of a model that does any factor, by axis, where they are known.
    """
    for axis in needed_axes(card):
        if axis not in image.axes:
            help_ = "set Axes to volume" if len(image.dims) > 2 else "choose another model"
            return f"{card.name} needs a {axis} axis, and the layer has {', '.join(image.dims)}; {help_}"
    if card.in_channels > 1 and card.in_channels != (bands := _count_bands(image)):
        return (
            f"{card.name} takes {card.in_channels} bands together, and the layer has {bands}; "
            "choose another model"
        )
    if scale is None:
        return ""
    for axis, (low, high) in _range_of_factors(card).items():
        if not low <= (asked := scale.get(axis, 1)) <= high:
            return f"{card.name} refines {axis} by {low:g} to {high:g}, not {asked:g}; set its factor"
    return ""


def _range_of_factors(card: "ModelCard") -> dict[str, tuple[float, float]]:
    """Return lowest and highest factor by axis of a model for any factor; 1 and 1 of an axis that stays."""
    if card.scale_range is None:
        return {}
    found = dict.fromkeys(AXES, (1.0, 1.0))
    return found | {a: s for a, s in zip(card.axes, card.scale_range, strict=True) if a != _THROUGH_PLANE}


def doubts(card: "ModelCard", image: LayerImage) -> list[str]:
    """Return where a layer lies outside what a model was trained for, one clause each."""
    found = model_fit(card, to_outline(image, card.spacing_unit))
    for axis in model_factors(card) if card.spacing_range is not None else ():
        unit = image.units[image.axes.index(axis)]
        if "degree" not in unit and unit_factor(unit, card.spacing_unit) is None:
            found.append(
                f"the layer states no {card.spacing_unit} along {axis}, so its spacing is not checked"
            )
    return found


def best_model(cards: Sequence["ModelCard"], image: LayerImage) -> str:
    """Return the name of the model to offer first for a layer: a fitting one, else cubic interpolation."""
    fitting = [card for card in cards if not refusal(card, image) and "gan" not in card.name]
    if _has_thick_slices(image):
        wanted = "CT" if image.modality == "CT" else "MR"
        fitting = [card for card in fitting if "z" in model_factors(card) and card.modality == wanted]
    else:
        is_raster = image.place("z") is None and not image.modality
        fitting = [card for card in fitting if is_raster and card.modality == "raster"]
    return fitting[0].name if fitting else CLASSICAL[0]


def card_text(card: "ModelCard") -> str:
    """Return what a model does and was trained on, in one line."""
    factors = ", ".join(f"{axis} by {s:g}" for axis, s in model_factors(card).items())
    if card.scale_range is not None:
        spans = _range_of_factors(card).items()
        factors = ", ".join(f"{axis} by {low:g} to {high:g}" for axis, (low, high) in spans if high > 1)
    parts = [f"refines {factors}", card.modality]
    if card.spacing_range is not None:
        low, high = card.spacing_range
        parts.append(f"trained at {low:.3g} to {high:.3g} {card.spacing_unit}")
    if card.in_channels > 1:
        parts.append(f"{card.in_channels} bands together")
    return " · ".join(filter(None, parts))


def _count_bands(image: LayerImage) -> int:
    """Return the length of the axis that a model of several bands would take."""
    if image.colours:
        return image.colours
    for dim, axis, size in zip(image.dims, image.axes, image.shape, strict=True):
        if not axis and dim.lower() in _BANDS:
            return size
    others = [size for axis, size in zip(image.axes, image.shape, strict=True) if not axis]
    return others[-1] if others else 1


def _has_thick_slices(image: LayerImage) -> bool:
    """Return whether the layer is a volume whose slices are thick."""
    places = [image.place(axis) for axis in AXES]
    return None not in places and has_thick_slices(*(image.spacing[k] for k in places if k is not None))
