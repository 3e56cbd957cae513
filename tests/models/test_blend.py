"""Blends: exact at both ends, linear between, and honest on their card."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import sr_imaging
from sr_imaging import ModelCard, ModelError, blend_models, degrade, load_model, save_model, upscale
from sr_imaging.cli.__main__ import app
from sr_imaging.evaluation.metrics.pixels import psnr
from sr_imaging.networks import build_generator

RASTER = np.random.default_rng(0).normal(size=(2, 23, 30)).cumsum(1).cumsum(2).astype(np.float32)


def saved(path: Path, **changes: Any) -> Path:
    """A model with weights of its own."""
    torch.manual_seed(len(path.name))
    arguments = {"scale": [2, 2], "channels": 4, "blocks": 1} | changes.pop("arguments", {})
    architecture = changes.pop("architecture", "srresnet")
    if architecture != "srresnet":
        arguments.pop("blocks")
    network = build_generator(architecture, arguments)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    card = ModelCard.of(network, name=path.stem, architecture=architecture, arguments=arguments)
    return save_model(network, path, replace(card, **changes))


@pytest.mark.parametrize(("alpha", "name"), [(0, "raster-x2"), (1, "raster-x2-gan")])
def test_ends_of_a_blend_are_the_two_models_bit_for_bit(alpha: float, name: str) -> None:
    blend: Any = blend_models("raster-x2", "raster-x2-gan", alpha)
    np.testing.assert_array_equal(upscale(RASTER, blend), upscale(RASTER, name))


def test_weights_of_a_blend_lie_on_the_line() -> None:
    first, second = (load_model(name).state_dict() for name in ("raster-x2", "raster-x2-gan"))
    blend = blend_models("raster-x2", "raster-x2-gan", 0.3).state_dict()
    assert not torch.equal(first["first.0.weight"], second["first.0.weight"])
    for key, weight in blend.items():
        expected = 0.7 * first[key].double() + 0.3 * second[key].double()
        torch.testing.assert_close(weight.double(), expected, rtol=1e-6, atol=1e-7)  # float32 rounding


def test_closeness_to_the_truth_falls_from_the_pixel_trained_to_the_gan_trained_model() -> None:
    pytest.importorskip("spyndex", reason="needs the extra samples")
    from sr_imaging.cli.demo.samples import scene

    hr = scene().isel(y=slice(0, 160), x=slice(0, 200)).astype("float32")
    lr = degrade(hr, 2)
    found = []
    for alpha in (0.0, 0.25, 0.5, 0.75, 1.0):
        blend: Any = blend_models("raster-x2", "raster-x2-gan", alpha)
        found.append(psnr(upscale(lr, blend), hr, data_range=4000.0))
    assert found[0] > found[2] > found[4]
    assert np.diff(found).max() < 0.05  # dB; the middle may gain a little, never much


def test_card_of_a_blend_names_both_models_and_alpha() -> None:
    card: ModelCard = blend_models("raster-x2", "raster-x2-gan", 0.25).card  # type: ignore[assignment]
    for name in ("raster-x2", "raster-x2-gan"):
        assert f"{name} (sha256 {sr_imaging.models.model_file.read_card(name).sha256})" in card.description
    assert "0.75 of raster-x2 " in card.description
    assert "0.25 of raster-x2-gan " in card.description
    assert card.metrics == {}
    assert card.sha256 not in {c.sha256 for c in sr_imaging.list_models()}


def test_blend_is_saved_and_loaded(tmp_path: Path) -> None:
    blend: Any = blend_models("raster-x2", "raster-x2-gan", 0.5)
    path = save_model(blend, tmp_path / "half.safetensors", blend.card)
    np.testing.assert_array_equal(upscale(RASTER, path), upscale(RASTER, blend))


def test_command_writes_a_blend(tmp_path: Path) -> None:
    target = tmp_path / "half.safetensors"
    command = ["models", "blend", "raster-x2", "raster-x2-gan", "--alpha", "0.5", "-o", str(target)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    blend: Any = blend_models("raster-x2", "raster-x2-gan", 0.5)
    np.testing.assert_array_equal(upscale(RASTER, target), upscale(RASTER, blend))
    assert CliRunner().invoke(app, command).exit_code == 2  # it exists


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"arguments": {"channels": 6}}, r"differ in arguments \(channels\): 4 and 6"),
        ({"architecture": "espcn"}, "differ in architecture: 'srresnet' and 'espcn'"),
        ({"modality": "CT"}, "differ in modality: '' and 'CT'"),
        ({"values": {"kind": "fixed", "offset": 1.0, "scale": 2.0}}, r"differ in values \(kind\)"),
    ],
)
def test_models_that_do_not_mix_are_refused(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    first = saved(tmp_path / "first.safetensors")
    second = saved(tmp_path / "second.safetensors", **changes)
    with pytest.raises(ModelError, match=match):
        blend_models(first, second, 0.5)


@pytest.mark.parametrize("alpha", [-0.1, 1.01, float("nan")])
def test_alpha_beyond_the_models_is_refused(alpha: float) -> None:
    with pytest.raises(ModelError, match="give 0 to 1"):
        blend_models("raster-x2", "raster-x2-gan", alpha)


def test_module_without_a_card_is_refused() -> None:
    with pytest.raises(ModelError, match="SRResNet has no card"):
        blend_models(build_generator("srresnet", {"scale": (2, 2)}), "raster-x2", 0.5)
