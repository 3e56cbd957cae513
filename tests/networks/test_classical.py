"""Fourier interpolation, the Wiener filter and back-projection: their laws, and that they beat cubic."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from helpers.builders import raster, run_padded, scan, seam, smooth

from sr_imaging import ModelError, degrade, evaluate, load_model, read, upscale
from sr_imaging.degradation.psf import BOX, GAUSSIAN, Psf, psf_kernel
from sr_imaging.evaluation.metrics.pixels import data_range, psnr
from sr_imaging.inference.model_choice import choose
from sr_imaging.networks import CLASSICAL, build_generator

REAL = {
    "satellite/aerial_hamburg_nocrs/dop20c_32587_5922.tif": (slice(1), slice(None), slice(None)),
    "satellite/landsat7_olinda_6band/L7_ETMs.tif": (slice(3, 4), slice(0, 240), slice(0, 180)),
    "medical/ct_small_nifti/example_ct.nii.gz": (slice(60, 61), slice(None), slice(None)),
}


def phantom(shape: tuple[int, ...] = (72, 96)) -> np.ndarray:
    """Discs of many sizes on a slope: edges and flat parts, as in organs and fields."""
    rng = np.random.default_rng(4)
    y, x = np.indices(shape, dtype=float)
    image = 0.3 * x + 0.1 * y
    for _ in range(40):
        row, col, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(2, 14)
        image += rng.uniform(-30, 30) * (np.hypot(y - row, x - col) < radius)
    return image


def gain(name: str, hr: np.ndarray, scale: int, psf: Psf = GAUSSIAN, **arguments: Any) -> float:
    """Decibels that a method lies above cubic on an image degraded by a point-spread function."""
    hr = hr[tuple(slice(0, n // scale * scale) for n in hr.shape)]
    lr = degrade(xr.DataArray(hr, dims=("y", "x")), scale, psf=psf)
    module: Any = build_generator(name, {"scale": (scale, scale), **arguments})
    span = data_range(hr)
    own, cubic = (upscale(lr, m, scale=scale).values for m in (module, "cubic"))
    return psnr(own, hr, data_range=span) - psnr(cubic, hr, data_range=span)


@pytest.mark.parametrize("scale", [2, 3, 5])
def test_fourier_is_exact_on_waves_up_to_four_fifths_of_nyquist(scale: int) -> None:
    module: Any = build_generator("fourier", {"scale": (scale, 1)})
    n, fine = 80, (np.arange(80 * scale) + 0.5) / scale - 0.5
    for cycles in (0.02, 0.17, 0.31, 0.4):  # per pixel; Nyquist is 0.5
        lr = np.cos(2 * np.pi * cycles * np.arange(n) + 1)[:, None] + np.zeros((n, 2))
        made = run_padded(module, torch.tensor(lr)[None, None])[0, 0, :, 0].numpy()
        inside = slice(20 * scale, -20 * scale)
        np.testing.assert_allclose(made[inside], np.cos(2 * np.pi * cycles * fine + 1)[inside], atol=2e-4)


def test_fourier_is_the_spectrum_filled_up_with_zeros() -> None:
    n, scale = 96, 2
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(n))
    spectrum[39:] = 0  # cycles up to 0.8 of the Nyquist frequency
    lr = np.fft.irfft(spectrum, n)
    shift = np.exp(2j * np.pi * np.arange(n // 2 + 1) / n * (0.5 / scale - 0.5))  # half-pixel centres
    zero_filled = np.fft.irfft(np.pad(spectrum * shift, (0, n * (scale - 1) // 2)), n * scale) * scale
    module: Any = build_generator("fourier", {"scale": (1, scale)})
    made = run_padded(module, torch.tensor(np.stack([lr, lr]))[None, None])[0, 0, 0].numpy()
    inside = slice(17 * scale, -17 * scale)
    np.testing.assert_allclose(made[inside], zero_filled[inside], atol=5e-4 * np.ptp(lr))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["wiener", "back-projection"])
def test_deconvolution_beats_cubic_on_a_phantom_of_its_psf(name: str, scale: int) -> None:
    assert gain(name, phantom(), scale) > 0.8


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("file", REAL)
@pytest.mark.parametrize("name", ["wiener", "back-projection"])
def test_deconvolution_beats_cubic_on_real_images(
    shared_data: Path, name: str, file: str, scale: int
) -> None:
    hr = read(shared_data / file).values.astype(float)
    hr = hr[REAL[file]][0] if hr.ndim == 3 else hr
    assert gain(name, hr, scale) > 0.5


@pytest.mark.parametrize("sigma", [0.25, 0.4, 0.7])
@pytest.mark.parametrize("name", ["wiener", "back-projection"])
def test_deconvolution_takes_the_psf_that_it_is_told(name: str, sigma: float) -> None:
    own = gain(name, phantom(), 3, Psf(sigma=sigma), sigma=sigma)
    other = gain(name, phantom(), 3, Psf(sigma=sigma), sigma=0.0)
    assert own > max(other, 0.0)


@pytest.mark.parametrize("name", ["wiener", "back-projection"])
def test_deconvolution_has_by_default_the_psf_of_degrade(name: str) -> None:
    default: Any = build_generator(name, {"scale": (3, 2, 2)})
    for k, axes in ((0, (3, 1, 1)), (1, (1, 2, 1)), (2, (1, 1, 2))):
        alone: Any = build_generator(name, {"scale": axes, "sigma": 0.4 if k else 0.0})
        usual: Any = build_generator(name, {"scale": axes})
        x = torch.tensor(smooth((1, 1, 6, 7, 8)))
        torch.testing.assert_close(run_padded(usual, x), run_padded(alone, x))
    assert default.halo[0] <= default.halo[1]


def test_wiener_is_best_at_the_noise_that_there_is() -> None:
    rng, scale, correlation, noise = np.random.default_rng(2), 2, 0.9, 0.03
    step = correlation ** (1 / scale)
    hr = np.zeros((60, 600))
    hr[:, 0] = rng.standard_normal(60)
    for k in range(1, 600):  # the Markov process that the filter takes images for, of variance 1
        hr[:, k] = step * hr[:, k - 1] + np.sqrt(1 - step**2) * rng.standard_normal(60)
    lr = degrade(xr.DataArray(hr, dims=("y", "x")), {"x": scale}, psf=GAUSSIAN).values
    noisy = torch.tensor(lr + np.sqrt(noise) * rng.standard_normal(lr.shape))[None, None]

    def error(assumed: float) -> float:
        arguments = {"scale": (1, scale), "noise": assumed, "correlation": correlation}
        module: Any = build_generator("wiener", arguments)
        made = run_padded(module, noisy)[0, 0].numpy()
        return float(((made - hr)[:, 20:-20] ** 2).mean())

    assert error(noise) < min(error(noise / 5), error(noise * 5))


def test_wiener_without_refinement_changes_nothing() -> None:
    module: Any = build_generator("wiener", {"scale": (1, 1)})
    x = torch.tensor(smooth((1, 1, 5, 6)))
    assert torch.equal(module(x), x)


@pytest.mark.parametrize("scale", [(2, 3), (1, 4), (3, 1, 2)])
def test_back_projection_equals_simulate_compare_correct(scale: tuple[int, ...]) -> None:
    """Irani and Peleg's loop, written out with the degradation itself."""
    dims = ("z", "y", "x")[-len(scale) :]
    sizes = (46, 44, 48)[-len(scale) :] if len(scale) == 2 else (16, 15, 17)
    lr = xr.DataArray(smooth(sizes), dims=dims)
    rounds = 2 if len(scale) == 2 else 1
    factors = dict(zip(dims, scale, strict=True))
    estimate = upscale(lr, "cubic", scale=factors)
    for _ in range(rounds):
        missing = lr - degrade(estimate, factors).values
        estimate = estimate + upscale(missing, "cubic", scale=factors).values
    module: Any = build_generator("back-projection", {"scale": scale, "iterations": rounds})
    made = run_padded(module, torch.tensor(lr.values)[None, None])[0, 0].numpy()
    edges = [(h + 2) * s if s > 1 else 0 for h, s in zip(module.halo, scale, strict=True)]
    inside = tuple(slice(e, n - e) for e, n in zip(edges, made.shape, strict=True))
    assert made[inside].size > 0
    np.testing.assert_allclose(made[inside], estimate.values[inside], atol=1e-5)


def test_back_projection_without_rounds_is_cubic() -> None:
    x = torch.tensor(smooth((1, 1, 7, 8)))
    none: Any = build_generator("back-projection", {"scale": (2, 3), "iterations": 0})
    cubic: Any = build_generator("cubic", {"scale": (2, 3)})
    assert none.halo == cubic.halo
    assert torch.equal(run_padded(none, x), run_padded(cubic, x))


@pytest.mark.parametrize(("sigma", "share"), [(0.0, 0.1), (0.4, 0.35), (0.8, 0.75)])
@pytest.mark.parametrize("scale", [2, 3, 5])
def test_back_projection_gives_lr_again_the_more_rounds_the_better(
    sigma: float, share: float, scale: int
) -> None:
    psf = Psf(sigma=sigma) if sigma else BOX
    lr = xr.DataArray(np.random.default_rng(3).random((24, 22)), dims=("y", "x"))  # every wave is in it
    left = []
    for rounds in (0, 1, 3, 10):
        arguments: dict[str, Any] = {"scale": (scale, scale), "sigma": sigma, "iterations": rounds}
        module: Any = build_generator("back-projection", arguments)
        again = degrade(upscale(lr, module), scale, psf=psf)
        left.append(float(np.abs(again - lr)[6:-6, 6:-6].mean()))
    assert left == sorted(left, reverse=True)
    assert left[-1] < share * left[0]  # a wide blur hides the finest waves


@pytest.mark.parametrize("name", ["fourier", "wiener", "back-projection"])
@pytest.mark.parametrize("chunks", [{"y": 9, "x": 11}, {"y": (3, 30, 8), "x": -1}])
def test_classical_method_of_chunks_and_tiles_equals_the_whole(name: str, chunks: Any) -> None:
    lr = raster((2, 41, 37))
    lr.values[0, 4:9, 5:12] = np.nan
    whole = upscale(lr, name, scale=2)
    assert seam(whole, upscale(lr, name, scale=2, tile=13)) < 2e-6
    assert seam(whole, upscale(lr.chunk(chunks), name, scale=2).compute(scheduler="sync")) < 2e-6


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_method_refines_a_volume_by_axis(name: str) -> None:
    lr = scan((5, 9, 12))
    sr = upscale(lr, name, scale={"z": 4})
    assert sr.shape == (20, 9, 12)
    assert sr.dtype == lr.dtype
    assert sr.attrs["sr_model"] == name


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_method_reaches_any_spacing(name: str) -> None:
    lr = raster((60, 64), step=(-10.0, 10.0))
    lr.values[:] = np.add.outer(np.arange(60.0), 2 * np.arange(64.0))
    sr = upscale(lr, name, spacing=4.0)
    assert sr.shape == (150, 160)
    centres = (np.arange(160) + 0.5) / 2.5 - 0.5
    inside = slice(50, 100)  # away from the border that is replicated
    expected = np.add.outer(centres[:150], 2 * centres)[inside, inside]
    tolerance = 1.51 if name == "nearest" else 0.2
    np.testing.assert_allclose(sr.values[inside, inside], expected, atol=tolerance)


def test_interpolation_by_a_fraction_is_taken_and_deconvolution_by_one_is_not() -> None:
    assert choose(raster(), "fourier", 2.5, None).scale == {"y": 2.5, "x": 2.5}
    for name in ("wiener", "back-projection"):
        with pytest.raises(ModelError, match=f"{name} refines by whole factors, not 2.5; ask for those, or"):
            choose(raster(), name, 2.5, None)


def test_deconvolution_reaches_a_spacing_through_the_next_whole_factor() -> None:
    choice = choose(scan(), "wiener", None, {"z": 2.0})
    assert choice.model_scale == {"z": 3, "y": 1, "x": 1}
    assert choice.scale == {"z": 2.5, "y": 1.0, "x": 1.0}
    assert choice.method == "cubic"


@pytest.mark.parametrize("name", ["wiener", "back-projection", "fourier"])
def test_classical_method_is_evaluated_beside_cubic(name: str) -> None:
    hr = xr.DataArray(phantom(), dims=("y", "x"), name="phantom")
    report = evaluate(name, hr, scale=2)
    assert report.model == name
    assert report.mean["gain"] > (0.8 if name != "fourier" else 0.0)


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("scale", [(2, 3), (2.0, 3.0)])
def test_classical_method_is_loaded_by_name_and_scale(name: str, scale: tuple[float, ...]) -> None:
    module: Any = load_model(name, scale=scale)
    assert module.card.name == module.card.architecture == name
    assert module.scale == (2, 3)
    assert len(module.card.sha256) == 64
    assert not list(module.parameters())


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("wiener", {"scale": (2, 2), "noise": -0.1}, "a noise of -0.1 of the image's variance is negative"),
        ("wiener", {"scale": (2, 2), "noise": np.nan}, "a noise of nan of the image's variance"),
        ("wiener", {"scale": (2, 2), "correlation": 1.0}, "a correlation of 1 is not between 0 and 1"),
        ("wiener", {"scale": (2, 2), "sigma": -1.0}, "a psf of sigma -1 LR pixels is not between 0 and 10"),
        ("wiener", {"scale": (2.5, 2)}, "Wiener does not work with scale (2.5, 2)"),
        ("wiener", {"scale": (2000, 1)}, "a scale of (2000, 1) is more than 1000; give a smaller one"),
        (
            "back-projection",
            {"scale": (2, 2), "iterations": 2.5},
            "iterations must be a whole number of 0 or more, got 2.5",
        ),
        (
            "back-projection",
            {"scale": (2, 2), "iterations": -1},
            "back-projection has 'iterations' -1; give a whole number of at least 0",
        ),
        ("back-projection", {"scale": (2, 2), "sigma": 11.0}, "a psf of sigma 11 LR pixels is not"),
    ],
)
def test_impossible_classical_method_is_refused(name: str, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=re.escape(text)):
        build_generator(name, arguments)


def test_psf_of_the_methods_is_that_of_degrade() -> None:
    lr = degrade(xr.DataArray(np.eye(24), dims=("z", "x")).expand_dims(y=3), {"z": 4, "x": 3})
    by_hand = np.einsum("ij,ik->jk", np.eye(24)[:, :24], np.eye(24))
    rows = by_hand.reshape(6, 4, 24).mean(1)  # a box along z
    kernel = psf_kernel(GAUSSIAN, 3)
    wide = np.pad(rows, [(0, 0), ((len(kernel) - 3) // 2,) * 2], mode="edge")
    cols = np.stack([wide[:, 3 * k : 3 * k + len(kernel)] @ kernel for k in range(8)], 1)
    np.testing.assert_allclose(lr.values[0], cols, atol=1e-12)
    assert psf_kernel(BOX, 4).tolist() == [0.25] * 4
