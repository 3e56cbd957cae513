"""Stochastic generators: noise by seed and place, and what a draw may and may not change."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from helpers.builders import SMALL, generator, raster, scan, smooth

import sr_imaging
from sr_imaging import ModelError
from sr_imaging.degradation.noise import normal_at
from sr_imaging.inference.tiling.wrappers import BothPlanes
from sr_imaging.models.card import ModelCard
from sr_imaging.models.model_file import load_model, save_model
from sr_imaging.networks import Generator, build_generator
from sr_imaging.networks.contrast import local_contrast

NOISY: list[tuple[str, dict[str, Any]]] = [
    ("vae", {"scale": (2, 3)}),
    ("vae", {"scale": (4, 1), "axes": ("z", "plane")}),
    ("vae", {"scale": (3, 1, 2), "in_channels": 2}),
    ("espcn", {"scale": (2, 3), "latent_channels": 2}),
    ("srresnet", {"scale": (4, 1), "axes": ("z", "plane"), "latent_channels": 1}),
    ("attention", {"scale": (3, 1, 2), "in_channels": 2, "latent_channels": 1}),
    ("vdsr", {"scale_range": ((1.5, 4.0), (1.0, 1.0)), "latent_channels": 1}),
    ("transposed", {"scale": (3, 2), "latent_channels": 1}),
]
noisy = pytest.mark.parametrize(("architecture", "arguments"), NOISY)


def draw(module: Any, seed: int = 0, n: tuple[int, ...] = (8, 12, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    """An image with its halo and a noise map for it."""
    halo = module.halo or (0,) * module.spatial_dims
    wide = [size + 2 * h for size, h in zip(n, halo, strict=False)]
    made = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, module.latent_channels, *wide, generator=made)
    return torch.tensor(smooth((2, module.in_channels, *wide)), dtype=torch.float32), noise


@noisy
def test_noise_changes_the_result_and_zeros_are_its_middle(
    architecture: str, arguments: dict[str, Any]
) -> None:
    module = generator(architecture, **arguments)
    x, noise = draw(module)
    middle = module(x)
    torch.testing.assert_close(module(x, latent=torch.zeros_like(noise)), middle, rtol=0, atol=1e-6)
    assert (module(x, latent=noise) - middle).abs().max() > 1e-3


@noisy
def test_training_draws_noise_from_the_global_generator(architecture: str, arguments: dict[str, Any]) -> None:
    module = generator(architecture, **arguments).train()
    x, _ = draw(module)
    torch.manual_seed(1)
    first, second = module(x), module(x)
    torch.manual_seed(1)
    assert torch.equal(module(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("architecture", "arguments"), NOISY[:-1])
def test_stochastic_generator_commutes_with_a_change_of_unit(
    architecture: str, arguments: dict[str, Any]
) -> None:
    module = generator(architecture, **arguments, gain=0.3)
    x, noise = draw(module)
    left, right = module(250 * x - 70, latent=noise), 250 * module(x, latent=noise) - 70
    torch.testing.assert_close(left, right, rtol=0, atol=1e-4 * 250)  # float32 of an offset image


@noisy
def test_noise_is_nothing_where_the_image_is_constant(architecture: str, arguments: dict[str, Any]) -> None:
    module = generator(architecture, **arguments)
    x, noise = draw(module)
    flat = torch.full_like(x, 0.25)
    torch.testing.assert_close(module(flat, latent=noise), module(flat), rtol=0, atol=1e-6)


def test_contrast_is_blind_to_offset_and_follows_gain() -> None:
    x = torch.tensor(smooth((2, 3, 9, 11)))
    contrast = local_contrast(x)
    assert contrast.shape == (2, 1, 5, 7)
    torch.testing.assert_close(local_contrast(8 * x + 64), 8 * contrast)
    assert torch.equal(local_contrast(torch.full((1, 2, 7, 6), 0.1)), torch.zeros(1, 1, 3, 2))


def test_contrast_of_a_ramp_is_its_mean_slope() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    torch.testing.assert_close(local_contrast((2 * y - 4 * x)[None, None]), torch.full((1, 1, 4, 5), 3.0))


def test_divergence_is_that_of_normal_distributions() -> None:
    module = generator("vae", scale=(2, 3)).train()
    x, _ = draw(module)
    caught = []
    module.code.register_forward_hook(lambda *call: caught.append(call[-1]))
    module(x)
    mean, log_variance = caught[0].chunk(2, 1)
    own = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(module.divergence, expected)
    assert module.divergence.requires_grad


@pytest.mark.parametrize("again", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_variational_generator_is_copied_in_the_middle_of_training(again: Any) -> None:
    module = generator("vae", scale=(2, 3)).train()
    x, noise = draw(module)
    module(x)
    assert torch.equal(again(module)(x, latent=noise), module(x, latent=noise))


def test_noise_map_of_fresh_generator_changes_nothing() -> None:
    plain: Any = build_generator("espcn", {"scale": (2, 3), "latent_channels": 0})
    assert plain.latent_channels == 0
    module: Any = build_generator("espcn", {"scale": (2, 3), "latent_channels": 2}).eval()
    x, noise = draw(module)
    assert torch.equal(module(x, latent=noise), module(x))


@pytest.mark.parametrize(
    ("architecture", "arguments", "text"),
    [
        ("espcn", {"latent_channels": -1}, "has 'latent_channels' -1; give a whole number of at least 0"),
        ("cubic", {"latent_channels": 1}, "cubic takes no argument 'latent_channels'"),
        ("vae", {"latent_channels": 0}, "a code of 0 numbers holds nothing"),
    ],
)
def test_impossible_noise_map_is_refused(architecture: str, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=text):
        build_generator(architecture, {"scale": (2, 2), **arguments})


@noisy
def test_stochastic_model_is_saved_and_loaded(
    architecture: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    arguments = {"channels": 4, **SMALL.get(architecture, {}), **arguments}
    module = generator(architecture, **arguments)
    card = ModelCard.of(module, name="m", architecture=architecture, arguments=arguments)
    loaded: Any = load_model(save_model(module, tmp_path / "m.safetensors", card))
    x, noise = draw(module)
    assert torch.equal(loaded(x, latent=noise), module(x, latent=noise))


ARRAYS: list[tuple[Any, xr.DataArray]] = [
    (("espcn", {"scale": (2, 3), "latent_channels": 2}), raster((2, 21, 26))),
    (("espcn", {"scale": (3, 2), "latent_channels": 1, "in_channels": 2}), raster((2, 21, 26))),
    (("vae", {"scale": (2, 3)}), raster((2, 21, 26))),
    (("vae", {"scale": (4, 1), "axes": ("z", "plane")}), scan((7, 19, 22), dtype=np.float32)),
    (("espcn", {"scale": (2, 1, 3), "latent_channels": 1}), scan((9, 19, 22), dtype=np.float32)),
]
arrays = pytest.mark.parametrize(("made_by", "da"), ARRAYS)


@arrays
def test_another_seed_gives_another_result_and_the_same_one_the_same_bits(
    made_by: Any, da: xr.DataArray
) -> None:
    module = generator(made_by[0], **made_by[1])
    first = sr_imaging.upscale(da, module, seed=1)
    assert first.attrs["sr_seed"] == 1
    assert first.equals(sr_imaging.upscale(da, module, seed=1))
    spread = float(np.abs(first - sr_imaging.upscale(da, module, seed=0)).max())
    assert spread > 1e-3 * float(da.max() - da.min())


@arrays
def test_noise_does_not_depend_on_tiles_or_chunks(made_by: Any, da: xr.DataArray) -> None:
    module = generator(made_by[0], **made_by[1])
    whole = sr_imaging.upscale(da, module, seed=5)
    lazy = da.chunk({dim: size for dim, size in zip(da.dims, (4, 10, 9), strict=True)})
    tolerance = 1e-6 * float(whole.max() - whole.min())  # sums of float32 in another order
    for again in (
        sr_imaging.upscale(da, module, seed=5, tile=8),
        sr_imaging.upscale(lazy, module, seed=5).compute(),
        sr_imaging.upscale(lazy, module, seed=5, tile=8).compute(),
    ):
        np.testing.assert_allclose(again, whole, rtol=0, atol=tolerance)


def test_each_band_has_noise_of_its_own() -> None:
    band = smooth((15, 17))
    same = xr.DataArray(np.stack([band, band]), dims=("band", "y", "x"))
    made = sr_imaging.upscale(same, generator("espcn", scale=(2, 3), latent_channels=1))
    assert float(np.abs(made[0] - made[1]).max()) > 1e-3


def test_noise_stays_where_it_is_when_another_tile_is_larger_than_the_image() -> None:
    module = generator("espcn", scale=(2, 3), latent_channels=1)
    da = raster((1, 5, 6))
    assert module.halo[0] > 5
    whole = sr_imaging.upscale(da, module)
    np.testing.assert_allclose(sr_imaging.upscale(da, module, tile=2), whole, rtol=0, atol=2e-4)  # of 200


def test_model_without_noise_states_no_seed() -> None:
    assert "sr_seed" not in sr_imaging.upscale(raster(), "cubic", scale=2).attrs


def test_both_planes_see_the_same_noise() -> None:
    planar = generator("espcn", scale=(3, 1), axes=("z", "plane"), latent_channels=1)
    both = BothPlanes(planar)
    assert both.latent_channels == 1
    x = torch.tensor(smooth((1, 1, 17, 18, 19)), dtype=torch.float32)
    noise = torch.randn(1, 1, 17, 18, 19)
    h = planar.halo[1]
    zy = torch.stack([planar(x[..., k], latent=noise[..., k]) for k in range(h, 19 - h)], -1)
    zx = torch.stack([planar(x[..., k, :], latent=noise[..., k, :]) for k in range(h, 18 - h)], -2)
    torch.testing.assert_close(both(x, latent=noise), (zy + zx) / 2, rtol=0, atol=1e-5)


def test_numbers_of_a_grid_are_normal_and_its_own_by_place() -> None:
    shape = (3, 40, 50)
    whole = normal_at([np.arange(n) for n in shape], shape, 7)
    part = normal_at([np.arange(1, 2), np.arange(9, 30), np.arange(4, 44)], shape, 7)
    np.testing.assert_array_equal(part, whole[1:2, 9:30, 4:44])
    assert abs(whole.mean()) < 0.05  # 6000 numbers: 4 standard errors
    assert abs(whole.std() - 1) < 0.04
    assert (
        abs(np.corrcoef(whole.ravel(), normal_at([np.arange(n) for n in shape], shape, 8).ravel())[0, 1])
        < 0.06
    )


def test_stochastic_generators_keep_the_contract() -> None:
    for architecture, arguments in NOISY:
        module = generator(architecture, **arguments)
        assert isinstance(module, Generator)
        assert module.latent_channels > 0
