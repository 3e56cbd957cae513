"""A discriminator on disk: one safetensors file with what rebuilds it, to judge a model by."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_imaging.errors import ModelError

from .card import are_arguments
from .weights_file import check_tensors, read_weights, tensors_of, write_weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_discriminator", "save_discriminator"]

_KEY = "sr_imaging_discriminator"  # the one metadata string of the file
_FORMAT = 1
_FACTS = ("architecture", "arguments", "size", "in_channels", "loss")


def save_discriminator(
    module: "nn.Module",
    path: str | os.PathLike[str],
    *,
    architecture: str,
    arguments: Mapping[str, Any],
    size: Sequence[int],
    in_channels: int,
    loss: str = "",
    overwrite: bool = False,
) -> Path:
    """Save a module of `build_discriminator` with its arguments and return the file.

    Its name ends in ``.safetensors``; next to a model ``NAME-gan.safetensors`` it is
    ``NAME-gan.discriminator.safetensors``. `loss` is the game of ``ADVERSARIAL_LOSSES`` that it was trained
    with, by which its verdicts are read; where it is not known, they are read against each other.
    """
    path = Path(path)
    facts = {
        "architecture": architecture,
        "arguments": dict(arguments),
        "size": [int(n) for n in size],
        "in_channels": int(in_channels),
        "loss": loss,
    }
    tensors = tensors_of(module)
    check_tensors(tensors, _build_from_facts(facts), path)
    text = json.dumps({"format": _FORMAT, **facts})
    write_weights(tensors, path, key=_KEY, text=text, overwrite=overwrite)
    return path


def load_discriminator(path: str | os.PathLike[str]) -> "nn.Module":
    """Load a discriminator, frozen in evaluation mode; nothing in a file is executed.

    It maps ``(B, in_channels, *size)`` to a list of feature maps, the logits last. Its attributes ``size``
    and ``in_channels`` say what it takes, ``loss`` how its verdicts read.
    """
    import torch

    path = Path(path)
    text, tensors = read_weights(path, key=_KEY, saved_by="save_discriminator")
    facts = _parse_facts(text, path)
    with torch.device("meta"):  # no memory is taken before the weights are known to fit
        outline = _build_from_facts(facts)
    check_tensors(tensors, outline, path)
    module: Any = _build_from_facts(facts)
    module.load_state_dict(tensors)
    module.size, module.in_channels, module.loss = tuple(facts["size"]), facts["in_channels"], facts["loss"]
    frozen: nn.Module = module.eval().requires_grad_(False)
    return frozen


def _build_from_facts(facts: Mapping[str, Any]) -> "nn.Module":
    """Return a discriminator of these facts with fresh weights."""
    from sr_imaging.networks.discriminators.registry import build_discriminator

    size, in_channels = tuple(facts["size"]), facts["in_channels"]
    return build_discriminator(facts["architecture"], facts["arguments"], size=size, in_channels=in_channels)


def _parse_facts(text: str, path: Path) -> dict[str, Any]:
    """Read the metadata strictly."""
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the metadata of {path} is not JSON ({error}); copy it again") from error
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise ModelError(f"{path} is not a discriminator of format {_FORMAT}; update sr_imaging")
    facts = {key: stored.get(key) for key in _FACTS}
    texts = isinstance(facts["architecture"], str) and isinstance(facts["loss"], str)
    right = texts and are_arguments(facts["arguments"])
    numbers = facts["size"] if isinstance(facts["size"], list) else [None]
    if not right or not all(isinstance(n, int) and 1 <= n <= 4096 for n in [*numbers, facts["in_channels"]]):
        raise ModelError(f"the metadata of {path} does not describe a discriminator; copy it again")
    return facts
