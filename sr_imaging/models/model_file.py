"""A model on disk is one safetensors file that carries its card; nothing in it is ever executed.

Cards are read without torch, so that a table or a menu of models appears at once.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from sr_imaging.errors import ModelError

from .card import FORMAT, ModelCard, card_text, check_facts, parse_card
from .weights_file import check_tensors, file_sha256, read_weights, tensors_of, write_weights

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["FORMAT", "ModelCard", "list_models", "load_model", "read_card", "save_model"]

_KEY = "sr_imaging"  # the one metadata string of the file
ZOO = Path(__file__).parent / "zoo"


def save_model(
    generator: "nn.Module", path: str | os.PathLike[str], card: ModelCard, *, overwrite: bool = False
) -> Path:
    """Save a generator and its card as one safetensors file.

    Parameters
    ----------
    generator : nn.Module
        Built by ``build_generator(card.architecture, card.arguments)``.
    path : path
        Name that ends in ``.safetensors``.
    card : ModelCard
        What to say of it.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the weights are not those of the card's architecture and arguments, or a weight is not finite.
    WriteError
        If the file exists or cannot be written.
    """
    from sr_imaging.networks import build_generator

    path = Path(path)
    tensors = tensors_of(generator)
    fresh = build_generator(card.architecture, card.arguments)
    check_facts(card, fresh, path)
    check_tensors(tensors, fresh, path)
    write_weights(tensors, path, key=_KEY, text=card_text(card), overwrite=overwrite)
    return path


def load_model(name_or_path: str | os.PathLike[str], *, scale: Sequence[float] | None = None) -> "nn.Module":
    """Load a bundled model by name, a model file by path, or a classical method by name and scale.

    Parameters
    ----------
    name_or_path : str or path
        Name in :func:`list_models`, a classical method (``cubic``, …), or the path of a model file.
    scale : tuple of int, optional
        Factors of a classical method, one per axis; not for trained models, which have their own.

    Returns
    -------
    nn.Module
        The generator in evaluation mode, its card in the attribute ``card``.

    Raises
    ------
    ModelError
        If there is no such model, or the file is damaged, foreign, pickled, of a newer format, or its weights
        are not those of its architecture. Nothing in a file is executed.
    """
    import torch

    from sr_imaging.networks import CLASSICAL, GENERATORS, build_generator

    if name_or_path in CLASSICAL:
        return _load_classical(str(name_or_path), scale)
    path = _find_file(name_or_path)
    card, tensors = _read_file(path)
    if scale is not None and tuple(scale) != tuple(card.scale):
        raise ModelError(f"{card.name} has scale {card.scale}, not {tuple(scale)}; leave scale out")
    if card.architecture not in GENERATORS:
        raise ModelError(f"{path} has architecture {card.architecture!r}, unknown here; update sr_imaging")
    with torch.device("meta"):  # no memory is taken before the weights are known to fit
        outline = build_generator(card.architecture, card.arguments)
    check_facts(card, outline, path)
    check_tensors(tensors, outline, path)
    generator: Any = build_generator(card.architecture, card.arguments)
    generator.load_state_dict(tensors)
    if card.values["kind"] == "fixed":
        generator.fixed_values = (float(card.values["offset"]), float(card.values["scale"]))
    return _attach_card(generator, card)


def _attach_card(generator: "nn.Module", card: ModelCard) -> "nn.Module":
    """Attach the card and freeze the module for inference."""
    generator.card = card  # type: ignore[assignment]
    return generator.eval().requires_grad_(False)


def _load_classical(name: str, scale: Sequence[float] | None) -> "nn.Module":
    from sr_imaging.networks import build_generator

    if scale is None:
        raise ModelError(f"the method {name!r} has no scale of its own; give scale=(2, 2) or the like")
    arguments = {"scale": tuple(scale)}
    generator = build_generator(name, arguments)
    card = ModelCard.of(generator, name=name, architecture=name, arguments=arguments)
    digest = hashlib.sha256(json.dumps([name, list(card.scale)]).encode()).hexdigest()
    return _attach_card(generator, replace(card, description=f"{name}, a classical method", sha256=digest))


def list_models() -> list[ModelCard]:
    """Return the cards of the bundled models, by name.

    Returns
    -------
    list of ModelCard
        Classical methods are not in it: they need no file.

    Raises
    ------
    ModelError
        If the file of a bundled model is damaged.
    """
    return [read_card(path) for path in sorted(ZOO.glob("*.safetensors"), key=lambda path: path.stem)]


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Return the card of a model file or a bundled name with its ``sha256``, without loading the weights."""
    return _read_file(_find_file(path), weights=False)[0]


def _find_file(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a bundled name or a path."""
    path = Path(name_or_path)
    bundled = ZOO / f"{name_or_path}.safetensors"
    try:
        if isinstance(name_or_path, str) and path.name == name_or_path and bundled.is_file():
            return bundled
        if path.is_file():
            return path
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise ModelError(
            f"no model {short(str(name_or_path))} ({error.strerror}); use a model file"
        ) from error
    from sr_imaging.networks import CLASSICAL

    names = [p.stem for p in sorted(ZOO.glob("*.safetensors"))]
    known = ", ".join([*names, *CLASSICAL])
    raise ModelError(f"no model {str(name_or_path)!r}; use a model file or one of {known}")


def _read_file(path: Path, *, weights: bool = True) -> "tuple[ModelCard, dict[str, torch.Tensor]]":
    """Read card and tensors of a file."""
    text, tensors = read_weights(path, key=_KEY, saved_by="save_model", weights=weights)
    return replace(parse_card(text, path), sha256=file_sha256(path)), tensors
