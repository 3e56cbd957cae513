"""The generator of strides: sides of whole multiples, one range of values, blended windows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import generator, raster, scan, smooth

import sr_imaging
from sr_imaging import ModelError
from sr_imaging.inference.options import EngineSettings
from sr_imaging.inference.tiling.engine import make_engine
from sr_imaging.models.card import ModelCard
from sr_imaging.models.model_file import load_model, save_model
from sr_imaging.networks import build_generator, check_generator

CASES: list[dict[str, Any]] = [
    {"scale": (2, 3)},
    {"scale": (1, 4), "levels": 1, "in_channels": 3},
    {"scale": (5, 1), "axes": ("z", "plane")},
    {"scale": (3, 1, 2), "levels": 1, "in_channels": 2},
]
cases = pytest.mark.parametrize("arguments", CASES)


def image(module: Any) -> torch.Tensor:
    n = [module.multiple * k for k in (2, 3, 1)][: module.spatial_dims]
    return torch.tensor(smooth((2, module.in_channels, *n)), dtype=torch.float32)


@cases
def test_transposed_shape_is_the_scaled_image(arguments: dict[str, Any]) -> None:
    module = generator("transposed", **arguments)
    check_generator(module)
    assert module.halo is None
    assert module.multiple == 2 ** arguments.get("levels", 2)
    x = image(module)
    fine = [n * s for n, s in zip(x.shape[2:], module.scale, strict=True)]
    assert module(x).shape == (2, module.in_channels, *fine)


@cases
def test_gradient_reaches_every_weight_of_transposed(arguments: dict[str, Any]) -> None:
    module = generator("transposed", **arguments).train()
    x = image(module).requires_grad_()
    module(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    assert x.grad is not None
    assert (x.grad != 0).float().mean() > 0.5


def test_detail_of_transposed_is_at_most_one_unit() -> None:
    module = generator("transposed", scale=(2, 3), gain=50.0)
    cubic: Any = build_generator("cubic", {"scale": (2, 3)})
    x = image(module)
    detail = module(x) - cubic(torch.nn.functional.pad(x, (2, 2, 2, 2), mode="replicate"))
    assert 0.9 < detail.abs().max().item() <= 1 + 1e-5


def test_transposed_sees_values_in_its_own_unit() -> None:
    da = raster((1, 8, 12))
    module = generator("transposed", scale=(2, 3), fixed_values=(100.0, 50.0))
    made = sr_imaging.upscale(da, module, tile=16).values[0]
    with torch.no_grad():
        expected = module(torch.tensor((da.values[None] - 100) / 50))[0, 0].numpy() * 50 + 100
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-3)  # float32 of 200


@pytest.mark.parametrize("tile", [None, 9, 2])
def test_windows_of_strides_are_whole_multiples(tile: int | None) -> None:
    module = generator("transposed", scale=(2, 3))
    seen: list[tuple[int, ...]] = []
    engine = make_engine(module, EngineSettings(tile=tile))
    copy: Any = engine.generator
    copy.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[2:]))
    y = copy(torch.tensor(smooth((1, 1, 11, 18)), dtype=torch.float32))
    assert y.shape == (1, 1, 22, 54)
    side = {None: (12, 20), 9: (8, 8), 2: (4, 4)}[tile]
    assert set(seen) == {side}


def test_transposed_enhances_thick_slices() -> None:
    da = scan((6, 10, 9), dtype=np.float32)
    module = generator("transposed", scale=(3, 1), axes=("z", "plane"), fixed_values=(0.0, 1000.0))
    assert sr_imaging.upscale(da, module).shape == (18, 10, 9)


def test_transposed_model_keeps_its_unit_and_its_norms(tmp_path: Path) -> None:
    arguments = {"scale": (2, 3), "channels": 4, "fixed_values": (100.0, 50.0)}
    module = generator("transposed", **arguments).train()
    module(image(module))
    module.eval()
    card = ModelCard.of(module, name="m", architecture="transposed", arguments=arguments)
    loaded: Any = load_model(save_model(module, tmp_path / "m.safetensors", card))
    assert loaded.fixed_values == (100.0, 50.0)
    assert torch.equal(loaded(image(module)), module(image(module)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"levels": 0}, "levels 0 and unit 1 must be above 0"), ({"fixed_values": (3, 0)}, "unit 0 must be")],
)
def test_impossible_transposed_is_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=text):
        build_generator("transposed", {"scale": (2, 2), **arguments})


def test_module_with_impossible_optional_facts_is_refused() -> None:
    module: Any = generator("transposed", scale=(2, 3))
    module.multiple = 0
    with pytest.raises(ModelError, match="Transposed states multiple 0; give a whole number of at least 1"):
        check_generator(module)
