"""The card of a model: what it is, what it was trained on and how good it is, as strict JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from reprlib import repr as short
from typing import Any

from sr_imaging.errors import ModelError

__all__ = ["FORMAT", "ModelCard", "are_arguments", "card_text", "check_facts", "parse_card"]

FORMAT = 1  # raised when an older reader would misread a newer file
_LARGEST = 4096  # of any number that builds a network; more is a damaged or a hostile file


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it was trained on and how good it is.

    Parameters
    ----------
    name : str
        Name to ask for it by.
    architecture : str
        Key of ``sr_imaging.networks.GENERATORS``.
    arguments : dict
        Its keyword arguments; with the architecture they rebuild the module.
    scale : tuple of float
        Fine pixels per coarse pixel of each of `axes`.
    axes : tuple of str
        Axes that the model works on.
    spatial_dims : int
        Their number.
    in_channels : int
        Bands taken together; 1 serves any number of bands, one at a time.
    halo : tuple of int or None
        Context in LR pixels; in HR pixels where there is a `scale_range`.
    scale_range : tuple of (float, float), optional
        Lowest and highest factor of each of `axes`, of a model that does any factor; its `scale` is all ones.
    bands : tuple of str
        Names of the bands it was trained on, where their order matters.
    modality : str
        ``raster``, ``CT``, ``MR``.
    values : dict
        ``{"kind": "equivariant"}`` or ``{"kind": "fixed", "offset": …, "scale": …, "unit": …}``.
    value_range : tuple of float, optional
        Smallest and largest value in training, of a model of fixed values; an equivariant one takes any.
    spacing_range : tuple of float, optional
        Smallest and largest LR spacing of the refined axes in training.
    spacing_unit : str
        Unit of `spacing_range`.
    degradation : str
        How LR was made from HR.
    metrics : dict
        Measured figures by name, with the data they were measured on.
    data_sources : tuple of str
        What it was trained on, with licences.
    licence : str
        Licence of the weights.
    description : str
        One sentence for a table.
    bf16_loss_db : float, optional
        PSNR lost in bfloat16 against float32, measured.
    versions : dict
        Packages that made it.
    sha256 : str
        Hash of the file; filled when it is read, never stored.
    """

    name: str
    architecture: str
    arguments: dict[str, Any]
    scale: tuple[float, ...]
    axes: tuple[str, ...]
    spatial_dims: int
    in_channels: int = 1
    halo: tuple[int, ...] | None = None
    scale_range: tuple[tuple[float, float], ...] | None = None
    bands: tuple[str, ...] = ()
    modality: str = ""
    values: dict[str, Any] = field(default_factory=lambda: {"kind": "equivariant"})
    value_range: tuple[float, float] | None = None
    spacing_range: tuple[float, float] | None = None
    spacing_unit: str = ""
    degradation: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    data_sources: tuple[str, ...] = ()
    licence: str = ""
    description: str = ""
    bf16_loss_db: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    sha256: str = ""

    @classmethod
    def of(cls, generator: Any, *, name: str, architecture: str, arguments: Mapping[str, Any]) -> "ModelCard":
        """Return the card that a module of ``build_generator(architecture, arguments)`` states by itself."""
        values: dict[str, Any] = {"kind": "equivariant"}
        if generator.fixed_values is not None:
            values = {"kind": "fixed", **dict(zip(("offset", "scale"), generator.fixed_values, strict=True))}
        return cls(
            name=name,
            architecture=architecture,
            arguments=dict(arguments),
            scale=tuple(generator.scale),
            axes=tuple(generator.axes),
            spatial_dims=generator.spatial_dims,
            in_channels=generator.in_channels,
            halo=generator.halo,
            scale_range=getattr(generator, "scale_range", None),
            values=values,
        )


def card_text(card: ModelCard) -> str:
    """Return the JSON that a model file stores of a card."""
    stored = {key: value for key, value in asdict(card).items() if key != "sha256"}
    return json.dumps({"format": FORMAT, **stored})


def parse_card(text: str, source: Any) -> ModelCard:
    """Return the card that :func:`card_text` wrote; `source` is its file, for the messages.

    Raises `ModelError` if the text is not JSON of a card, of a newer format, or an entry is unknown, missing
    or of an impossible kind.
    """
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the card of {source} is not JSON ({error}); copy it again") from error
    if not isinstance(stored, dict) or not isinstance(stored.get("format"), int):
        raise ModelError(f"the card of {source} does not state its format; save it with save_model")
    if stored["format"] > FORMAT:
        raise ModelError(f"{source} has format {stored['format']}, newer than {FORMAT}; update sr_imaging")
    del stored["format"]
    known = {f.name for f in fields(ModelCard)}
    if unknown := sorted(set(stored) - known):
        raise ModelError(f"the card of {source} has an unknown entry {unknown[0]!r}; update sr_imaging")
    required = ("name", "architecture", "arguments", "scale", "axes", "spatial_dims")
    if missing := [key for key in required if key not in stored]:
        raise ModelError(f"the card of {source} lacks {missing[0]!r}; save it with save_model")
    for key, value in stored.items():
        if not _KINDS.get(key, _is_text)(value):
            raise ModelError(f"the card of {source} has {short(value)} in {key!r}; save it with save_model")
        if isinstance(value, list):
            stored[key] = tuple(tuple(part) if isinstance(part, list) else part for part in value)
    return ModelCard(**stored)


def check_facts(card: ModelCard, generator: Any, source: Any) -> None:
    """Raise at the first fact of a card that its own architecture and arguments contradict."""
    for fact in ("spatial_dims", "in_channels", "axes", "scale", "scale_range"):
        have, want = getattr(card, fact), getattr(generator, fact, None)
        if have != want:
            raise ModelError(
                f"the card of {source} states {fact} {have}, but {card.architecture} has {want}; "
                "correct the card"
            )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value == int(value) and 0 <= value <= _LARGEST


def _is_list(of: Callable[[Any], bool], size: int | None = None) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and size in (None, len(value)) and all(map(of, value))


def _is_null_or(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or of(value)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def are_arguments(value: Any) -> bool:
    """Whether no number that builds the network is absurd."""
    if not isinstance(value, dict):
        return False
    numbers = [n for v in value.values() for n in (v if isinstance(v, list) else [v])]
    return all(-_LARGEST <= n <= _LARGEST for n in numbers if isinstance(n, int | float))


def _is_value_scaling(value: Any) -> bool:
    """Whether this is one of the two kinds of value scaling."""
    if not isinstance(value, dict):
        return False
    if value.get("kind") == "fixed":
        return _is_number(value.get("offset")) and _is_number(value.get("scale")) and value["scale"] != 0
    return value.get("kind") == "equivariant"


_KINDS: dict[str, Callable[[Any], bool]] = {  # all others are text
    "arguments": are_arguments,
    "scale": _is_list(_is_number),
    "axes": _is_list(_is_text),
    "spatial_dims": _is_count,
    "in_channels": _is_count,
    "halo": _is_null_or(_is_list(_is_count)),
    "scale_range": _is_null_or(_is_list(_is_list(_is_number, 2))),
    "bands": _is_list(_is_text),
    "values": _is_value_scaling,
    "value_range": _is_null_or(_is_list(_is_number, 2)),
    "spacing_range": _is_null_or(_is_list(_is_number, 2)),
    "metrics": _is_map,
    "data_sources": _is_list(_is_text),
    "bf16_loss_db": _is_null_or(_is_number),
    "versions": _is_map,
}
