"""A safetensors file with one JSON string in its metadata: read without executing anything, written whole."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from sr_imaging.errors import ModelError
from sr_imaging.io.atomic import whole_output

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["check_tensors", "file_sha256", "read_tensors", "read_weights", "tensors_of", "write_weights"]


def tensors_of(module: "nn.Module") -> "dict[str, torch.Tensor]":
    """Return the weights of a module on the CPU, none sharing memory with the module's layout."""
    return {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}


def write_weights(
    tensors: "Mapping[str, torch.Tensor]", path: Path, *, key: str, text: str, overwrite: bool
) -> None:
    """Write tensors and one metadata string by its key; the file appears whole or not at all."""
    from safetensors.torch import save

    with whole_output(path, overwrite=overwrite) as temporary:
        # not save_file, which makes the file readable to its owner alone
        temporary.write_bytes(save(dict(tensors), metadata={key: text}))


def read_weights(
    path: Path, *, key: str, saved_by: str, weights: bool = True
) -> "tuple[str, dict[str, torch.Tensor]]":
    """Return the metadata string of a key, and the tensors where `weights` are wanted.

    Raises `ModelError` if the file is pickled, damaged, unreadable, or has no such string; `saved_by` is the
    function that writes such files, for the messages.
    """
    remedy = f"export it with {saved_by}"
    with _open_safetensors(path, framework="pt" if weights else "np", remedy=remedy) as file:
        metadata = file.metadata() or {}
        if key not in metadata:
            raise ModelError(f"{path} is safetensors without a card of ours; save it with {saved_by}")
        names = file.keys() if weights else ()
        return metadata[key], {name: file.get_tensor(name) for name in names}


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Return the tensors of any safetensors file; `ModelError` if it is pickled, damaged or unreadable."""
    remedy = (
        "where you trust it, convert it once: safetensors.torch.save_file("
        f"torch.load({path.name!r}, weights_only=True), {path.stem + '.safetensors'!r})"
    )
    with _open_safetensors(path, framework="pt", remedy=remedy) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _open_safetensors(path: Path, *, framework: str, remedy: str) -> Iterator[Any]:
    """Open a safetensors file; what is wrong with it, also while it is read, becomes a `ModelError`."""
    try:
        if _is_pickle(path):
            raise ModelError(f"{path} is a pickled checkpoint, which could run code; {remedy}")
        with safe_open(path, framework=framework) as file:
            yield file
    except SafetensorError as error:
        raise ModelError(f"{path} is not a complete safetensors file ({error}); copy it again") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error}); check the file and its permissions") from error


def _is_pickle(path: Path) -> bool:
    """Recognise a pickle or a zip of pickles by its first bytes.

    A safetensors file begins with the length of its header, which may be the same bytes, but its ninth byte
    is the brace that opens the header.
    """
    with path.open("rb") as file:
        start = file.read(9)
    return start.startswith((b"PK", b"\x80")) and start[8:] != b"{"


def file_sha256(path: Path) -> str:
    """Return the hash of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_tensors(tensors: "Mapping[str, torch.Tensor]", module: "nn.Module", path: Path) -> None:
    """Raise `ModelError` at the first weight whose name, shape or dtype is not that of the module."""
    expected = module.state_dict()
    for key in sorted(set(expected) | set(tensors)):
        if key not in tensors:
            raise ModelError(
                f"{path} lacks the weight {key!r} of the architecture that its card names; correct the card"
            )
        if key not in expected:
            raise ModelError(
                f"{path} has a weight {key!r} that its architecture does not have; correct the card"
            )
        have, want = tensors[key], expected[key]
        if have.shape != want.shape:
            raise ModelError(
                f"weight {key!r} of {path} has shape {tuple(have.shape)}, not {tuple(want.shape)}; "
                "correct the card"
            )
        if have.dtype != want.dtype:
            raise ModelError(
                f"weight {key!r} of {path} is {have.dtype}, not {want.dtype}; save it as float32"
            )
        if not have.isfinite().all():
            raise ModelError(f"weight {key!r} of {path} is not finite; the training has diverged")
