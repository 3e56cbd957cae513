"""A discriminator on disk: what is saved is what is loaded, and nothing else is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sr_imaging import ModelError, WriteError
from sr_imaging.models.discriminator_file import load_discriminator, save_discriminator
from sr_imaging.networks.discriminators.registry import DISCRIMINATORS, build_discriminator

KEY = "sr_imaging_discriminator"
FACTS: dict[str, Any] = {"architecture": "patch", "arguments": {"channels": 4, "norm": "batch"}}
LOSS = {"loss": ""}
SHAPE: dict[str, Any] = {"size": (24, 32), "in_channels": 3}


def trained() -> Any:
    """A discriminator whose batch statistics are not those of a fresh one."""
    torch.manual_seed(3)
    module: Any = build_discriminator("patch", FACTS["arguments"], **SHAPE)
    module(2 * torch.randn(2, 3, 24, 32) + 1)
    return module.eval()


def test_loaded_discriminator_gives_the_same_verdicts(tmp_path: Path) -> None:
    module = trained()
    path = save_discriminator(
        module, tmp_path / "run-gan.discriminator.safetensors", **FACTS, **SHAPE, loss="lsgan"
    )
    loaded: Any = load_discriminator(path)
    patches = torch.randn(2, 3, 24, 32)
    assert torch.equal(loaded(patches)[-1], module(patches)[-1])
    assert (loaded.size, loaded.in_channels, loaded.loss, loaded.training) == ((24, 32), 3, "lsgan", False)
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("norm", ["none", "batch", "instance", "spectral"])
@pytest.mark.parametrize("architecture", DISCRIMINATORS)
def test_every_architecture_and_norm_comes_back(architecture: str, norm: str, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"architecture": architecture, "arguments": {"channels": 4, "norm": norm}}
    module = build_discriminator(architecture, facts["arguments"], size=(32, 48), in_channels=2)
    module(torch.randn(2, 2, 32, 48))
    path = save_discriminator(module, tmp_path / "d.safetensors", **facts, size=(32, 48), in_channels=2)
    patches = torch.randn(1, 2, 32, 48)
    assert torch.equal(load_discriminator(path)(patches)[-1], module.eval()(patches)[-1])


def test_earlier_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = save_discriminator(trained(), tmp_path / "d.safetensors", **FACTS, **SHAPE)
    with pytest.raises(WriteError, match="exists"):
        save_discriminator(trained(), path, **FACTS, **SHAPE)
    save_discriminator(trained(), path, **FACTS, **SHAPE, overwrite=True)


def test_weights_of_other_facts_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has shape"):
        save_discriminator(trained(), tmp_path / "d.safetensors", **FACTS, size=(24, 32), in_channels=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "is not JSON"),
        (json.dumps({"format": 2}), "format 1"),
        (
            json.dumps({"format": 1, **FACTS, "size": [24, "32"], "in_channels": 3, **LOSS}),
            "does not describe",
        ),
        (
            json.dumps({"format": 1, **FACTS, "size": [24, 10**9], "in_channels": 3, **LOSS}),
            "does not describe",
        ),
        (json.dumps({"format": 1, **FACTS, "size": [24, 32]}), "does not describe"),
        (
            json.dumps({"format": 1, **FACTS, "size": [24, 32], "in_channels": 3, **LOSS}),
            "lacks the weight",
        ),
    ],
)
def test_foreign_metadata_is_refused(text: str, match: str, tmp_path: Path) -> None:
    save_file({"odd": torch.zeros(2)}, tmp_path / "d.safetensors", metadata={KEY: text})
    with pytest.raises(ModelError, match=match):
        load_discriminator(tmp_path / "d.safetensors")


@pytest.mark.parametrize(
    ("content", "match"),
    [(None, "cannot be read"), (b"PK\x03\x04 zip", "pickled checkpoint"), (b"12345678{", "not a complete")],
)
def test_file_of_another_kind_is_refused(content: bytes | None, match: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "d.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=match):
        load_discriminator(tmp_path / "d.safetensors")


def test_model_file_is_no_discriminator() -> None:
    import sr_imaging.models.zoo

    model = Path(sr_imaging.models.zoo.__file__).with_name("raster-x2.safetensors")
    with pytest.raises(ModelError, match="save_discriminator"):
        load_discriminator(model)
