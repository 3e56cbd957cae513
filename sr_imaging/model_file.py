"""A model on disk is one safetensors file that carries its card; nothing in it is ever executed.

Cards are read without torch, so that a table or a menu of models appears at once.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from .errors import ModelError
from .io.atomic import whole_output

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["FORMAT", "ModelCard", "list_models", "load_model", "read_card", "save_model"]

FORMAT = 1  # raised when an older reader would misread a newer file
_KEY = "sr_imaging"  # the one metadata string of the file
ZOO = Path(__file__).parent / "zoo"


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
        Context in LR pixels.
    bands : tuple of str
        Names of the bands it was trained on, where their order matters.
    modality : str
        ``raster``, ``CT``, ``MR``.
    values : dict
        ``{"kind": "equivariant"}`` or ``{"kind": "fixed", "offset": …, "scale": …, "unit": …}``.
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
    bands: tuple[str, ...] = ()
    modality: str = ""
    values: dict[str, Any] = field(default_factory=lambda: {"kind": "equivariant"})
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
            values=values,
        )


_TUPLES = ("scale", "axes", "halo", "bands", "spacing_range", "data_sources")


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
    import torch
    from safetensors.torch import save_file

    from .networks import build_generator

    path = Path(path)
    tensors = {key: value.detach().cpu().contiguous() for key, value in generator.state_dict().items()}
    _check_tensors(tensors, build_generator(card.architecture, card.arguments), path)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"weight {key!r} of {card.name} is not finite; the training has diverged")
    stored = {key: value for key, value in asdict(card).items() if key != "sha256"}
    text = json.dumps({"format": FORMAT, **stored})
    with whole_output(path, overwrite=overwrite) as temporary:
        save_file(tensors, temporary, metadata={_KEY: text})
    return path


def load_model(name_or_path: str | os.PathLike[str], *, scale: Sequence[float] | None = None) -> "nn.Module":
    """Load a bundled model by name, a model file by path, or an interpolation by name and scale.

    Parameters
    ----------
    name_or_path : str or path
        Name in :func:`list_models`, an interpolation (``cubic``, …), or the path of a model file.
    scale : tuple of int, optional
        Factors of an interpolation, one per axis; not for trained models, which have their own.

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
    from .networks import GENERATORS, INTERPOLATIONS, build_generator

    if name_or_path in INTERPOLATIONS:
        return _load_interpolation(str(name_or_path), scale)
    path = _find(name_or_path)
    card, tensors = _read(path)
    if scale is not None and tuple(scale) != tuple(card.scale):
        raise ModelError(f"{card.name} has scale {card.scale}, not {tuple(scale)}; leave scale out")
    if card.architecture not in GENERATORS:
        raise ModelError(f"{path} has architecture {card.architecture!r}, unknown here; update sr_imaging")
    generator = build_generator(card.architecture, card.arguments)
    _check_tensors(tensors, generator, path)
    generator.load_state_dict(tensors)
    return _with_card(generator, card)


def _with_card(generator: "nn.Module", card: ModelCard) -> "nn.Module":
    """Attach the card and freeze the module for inference."""
    generator.card = card  # type: ignore[assignment]
    return generator.eval().requires_grad_(False)


def _load_interpolation(name: str, scale: Sequence[float] | None) -> "nn.Module":
    from .networks import build_generator

    if scale is None:
        raise ModelError(f"the interpolation {name!r} has no scale of its own; give scale=(2, 2) or the like")
    arguments = {"scale": tuple(scale)}
    generator = build_generator(name, arguments)
    card = ModelCard.of(generator, name=name, architecture=name, arguments=arguments)
    digest = hashlib.sha256(json.dumps([name, list(scale)]).encode()).hexdigest()
    return _with_card(generator, replace(card, description=f"{name} interpolation", sha256=digest))


def list_models() -> list[ModelCard]:
    """Return the cards of the bundled models, by name.

    Returns
    -------
    list of ModelCard
        Interpolations are not in it: they need no file.
    """
    return [read_card(path) for path in sorted(ZOO.glob("*.safetensors"))]


def read_card(path: str | os.PathLike[str]) -> ModelCard:
    """Return the card of a model file without loading its weights.

    Parameters
    ----------
    path : path
        Model file, or the name of a bundled model.

    Returns
    -------
    ModelCard
        With ``sha256`` filled.

    Raises
    ------
    ModelError
        As :func:`load_model`.
    """
    return _read(_find(path), weights=False)[0]


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file of a bundled name or a path."""
    path = Path(name_or_path)
    bundled = ZOO / f"{name_or_path}.safetensors"
    if isinstance(name_or_path, str) and path.name == name_or_path and bundled.is_file():
        return bundled
    if path.is_file():
        return path
    from .networks import INTERPOLATIONS

    names = [p.stem for p in sorted(ZOO.glob("*.safetensors"))]
    known = ", ".join([*names, *INTERPOLATIONS])
    raise ModelError(f"no model {str(name_or_path)!r}; use a model file or one of {known}")


def _read(path: Path, *, weights: bool = True) -> "tuple[ModelCard, dict[str, torch.Tensor]]":
    """Read card and tensors of a file, with a clear word on files that are something else."""
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((b"PK", b"\x80")):
        raise ModelError(f"{path} is a pickled checkpoint, which could run code; export it with save_model")
    try:
        with safe_open(path, framework="pt" if weights else "np") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise ModelError(f"{path} is safetensors without a card of ours; save it with save_model")
            card = _parse_card(metadata[_KEY], path)
            tensors = {key: file.get_tensor(key) for key in file.keys()} if weights else {}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{path} is no complete safetensors file ({error}); copy it again") from error
    return replace(card, sha256=_sha256(path)), tensors


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse_card(text: str, path: Path) -> ModelCard:
    """Read the JSON of a card strictly."""
    try:
        stored = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelError(f"the card of {path} is no JSON ({error}); copy it again") from error
    if not isinstance(stored, dict) or not isinstance(stored.get("format"), int):
        raise ModelError(f"the card of {path} states no format; save it with save_model")
    if stored["format"] > FORMAT:
        raise ModelError(f"{path} has format {stored['format']}, newer than {FORMAT}; update sr_imaging")
    del stored["format"]
    known = {f.name for f in fields(ModelCard)}
    if unknown := sorted(set(stored) - known):
        raise ModelError(f"the card of {path} has an unknown entry {unknown[0]!r}; update sr_imaging")
    required = ("name", "architecture", "arguments", "scale", "axes", "spatial_dims")
    if missing := [key for key in required if key not in stored]:
        raise ModelError(f"the card of {path} lacks {missing[0]!r}; save it with save_model")
    for key in _TUPLES:
        if stored.get(key) is not None:
            stored[key] = tuple(stored[key])
    return ModelCard(**stored)


def _check_tensors(tensors: "Mapping[str, torch.Tensor]", generator: "nn.Module", path: Path) -> None:
    """Raise at the first weight whose name, shape or dtype is not that of the architecture."""
    expected = generator.state_dict()
    for key in sorted(set(expected) | set(tensors)):
        if key not in tensors:
            raise ModelError(f"{path} lacks the weight {key!r}; it is not of the architecture its card names")
        if key not in expected:
            raise ModelError(f"{path} has a weight {key!r} that its architecture has not; the card is wrong")
        have, want = tensors[key], expected[key]
        if have.shape != want.shape:
            raise ModelError(
                f"weight {key!r} of {path} has shape {tuple(have.shape)}, not {tuple(want.shape)}; "
                "the card is wrong"
            )
        if have.dtype != want.dtype:
            raise ModelError(
                f"weight {key!r} of {path} is {have.dtype}, not {want.dtype}; save it as float32"
            )
