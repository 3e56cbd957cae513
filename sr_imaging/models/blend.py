"""Between two trained models of one architecture: a straight line through their weights."""

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sr_imaging import __version__
from sr_imaging.errors import ModelError

from .card import ModelCard
from .model_file import load_model

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["blend_models"]

_EQUAL = ("architecture", "arguments", "values", "bands", "modality")


def blend_models(
    first: "str | os.PathLike[str] | nn.Module", second: "str | os.PathLike[str] | nn.Module", alpha: float
) -> "nn.Module":
    """Return a model between two, for instance between a pixel-trained and a GAN-trained one.

    Every weight is ``(1 - alpha) * first + alpha * second`` (network interpolation), so one number leads from
    fidelity to texture. It has a meaning where one model was trained on from the other, as the two phases of
    :func:`sr_imaging.train` are.

    Parameters
    ----------
    first, second : str, path or nn.Module
        Bundled names, model files, or what :func:`sr_imaging.load_model` returned.
    alpha : float
        0 gives the first model, 1 the second, both bit for bit.

    Returns
    -------
    nn.Module
        The generator in evaluation mode, with a ``card`` that names both models, their hashes and alpha; what
        was measured on either is left out. :func:`sr_imaging.upscale` takes it, and
        ``save_model(blend, path, blend.card)`` stores it.

    Raises
    ------
    ModelError
        If alpha is outside 0 to 1, there is no such model, or the two differ in architecture, arguments,
        values, bands or modality.

    References
    ----------
    X. Wang et al., "ESRGAN: enhanced super-resolution generative adversarial networks", ECCV Workshops 2018,
    eq. 8.

    Examples
    --------
    >>> half = blend_models("raster-x2", "raster-x2-gan", 0.5)
    >>> half.card.name
    'raster-x2-to-raster-x2-gan-0.5'
    """
    if not 0 <= alpha <= 1:
        raise ModelError(f"alpha {alpha:g} does not lie between two models; give 0 to 1")
    start, end = _load_with_card(first), _load_with_card(second)
    _check_alike(start.card, end.card)
    from sr_imaging.networks import build_generator

    blend: Any = build_generator(start.card.architecture, start.card.arguments)
    pairs = zip(start.state_dict().items(), end.state_dict().values(), strict=True)
    blend.load_state_dict({key: _blend_weight(one, other, alpha) for (key, one), other in pairs})
    blend.fixed_values = start.fixed_values
    blend.card = _blend_cards(start.card, end.card, alpha)
    made: nn.Module = blend.eval().requires_grad_(False)
    return made


def _load_with_card(model: Any) -> Any:
    """Return a module with a card."""
    if isinstance(model, str | os.PathLike):
        return load_model(model)
    if not isinstance(getattr(model, "card", None), ModelCard):
        raise ModelError(
            f"{type(model).__name__} has no card to compare; save it with save_model and load it again"
        )
    return model


def _check_alike(first: ModelCard, second: ModelCard) -> None:
    """Raise at the first fact that does not let weights be mixed."""
    for fact in _EQUAL:
        have, want = (json.loads(json.dumps(getattr(card, fact))) for card in (second, first))
        if have == want:
            continue
        what = fact
        if isinstance(have, dict) and isinstance(want, dict):
            key = next(key for key in {**want, **have} if want.get(key) != have.get(key))
            what, have, want = f"{fact} ({key})", have.get(key), want.get(key)
        raise ModelError(
            f"{first.name} and {second.name} differ in {what}: {want!r} and {have!r}; "
            "blend two models of one architecture, such as the two phases of one training"
        )


def _blend_weight(start: "Tensor", end: "Tensor", alpha: float) -> "Tensor":
    """Return a weight on the way; counters, which have no between, are those of the nearer end."""
    if start.is_floating_point():
        return start.lerp(end, alpha)  # exact at both ends
    return start if alpha < 0.5 else end


def _blend_cards(first: ModelCard, second: ModelCard, alpha: float) -> ModelCard:
    """Return the card of a blend: what both state, and how it was made."""
    pair = (first, second)
    parts = [f"{card.name} (sha256 {card.sha256 or 'unknown'})" for card in pair]
    spacing = None
    if first.spacing_unit == second.spacing_unit:
        spacing = _join_ranges(first.spacing_range, second.spacing_range)
    digest = hashlib.sha256(json.dumps([first.sha256, second.sha256, alpha]).encode()).hexdigest()
    return replace(
        first,
        name=f"{first.name}-to-{second.name}-{alpha:g}",
        description=f"weights {1 - alpha:g} of {parts[0]} and {alpha:g} of {parts[1]}",
        value_range=_join_ranges(first.value_range, second.value_range),
        spacing_range=spacing,
        spacing_unit=first.spacing_unit if spacing else "",
        degradation=_join_texts(first.degradation, second.degradation),
        licence=_join_texts(first.licence, second.licence),
        data_sources=tuple(dict.fromkeys([*first.data_sources, *second.data_sources])),
        metrics={},
        bf16_loss_db=None,
        versions={"sr_imaging": __version__},
        sha256=digest if first.sha256 and second.sha256 else "",
    )


def _join_ranges(
    one: tuple[float, float] | None, other: tuple[float, float] | None
) -> tuple[float, float] | None:
    """Return the range that holds two; None where one is unknown."""
    return None if one is None or other is None else (min(one[0], other[0]), max(one[1], other[1]))


def _join_texts(first: str, second: str) -> str:
    """Return what both say, or one after the other."""
    return "; ".join(dict.fromkeys(text for text in (first, second) if text))
