"""Evaluation: cubic against itself, planes, nodata, the report."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from sr_imaging import ConfigError, GridError, ModelError, degrade, evaluate, upscale
from sr_imaging.degradation.noise import Noise
from sr_imaging.degradation.psf import BOX, Psf
from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.evaluation.metrics.fourier import fourier_correlation
from sr_imaging.evaluation.metrics.pixels import data_range, ms_ssim, mse, psnr
from sr_imaging.evaluation.metrics.spectra import ergas, sam
from sr_imaging.evaluation.report import Report
from sr_imaging.models.discriminator_file import save_discriminator
from sr_imaging.networks import build_generator
from sr_imaging.networks.discriminators.registry import build_discriminator


def raster(bands: int = 2, rows: int = 41, cols: int = 52) -> xr.DataArray:
    values = np.cumsum(np.random.default_rng(0).normal(size=(bands, rows, cols)), axis=2) + 50
    coords = {"y": 900.0 - 10 * np.arange(rows), "x": 100.0 + 10 * np.arange(cols)}
    return xr.DataArray(values.astype(np.float32), dims=("band", "y", "x"), coords=coords, name="land")


def volume(spacing: tuple[float, float, float]) -> xr.DataArray:
    shape = (12, 16, 20)
    values = np.cumsum(np.random.default_rng(1).normal(size=shape), axis=2).astype(np.float32)
    coords = {axis: np.arange(n) * d for axis, n, d in zip("zyx", shape, spacing, strict=True)}
    return xr.DataArray(values, dims=("z", "y", "x"), coords=coords, name="head")


def test_cubic_gains_nothing_over_cubic() -> None:
    row = evaluate("cubic", raster(), scale=2).rows[0]
    assert row.gain == pytest.approx(0, abs=1e-4)
    assert row.ssim == pytest.approx(row.ssim_cubic, abs=1e-5)
    assert row.sam == pytest.approx(row.sam_cubic, abs=1e-5)


def test_figures_are_those_of_degrade_and_upscale() -> None:
    hr = raster(rows=40)
    sr = upscale(degrade(hr, {"y": 2, "x": 2}), "linear", scale={"y": 2, "x": 2})
    row = evaluate("linear", hr, scale=(2, 2)).rows[0]
    assert row.range == pytest.approx(data_range(hr))
    assert row.psnr == pytest.approx(psnr(sr, hr, data_range=row.range), abs=1e-4)
    assert row.pixels == hr.size


def test_fresh_network_equals_its_cubic_skip() -> None:
    network = build_generator("espcn", {"scale": (2, 2), "channels": 4}).eval()
    report = evaluate(network, raster())
    assert report.model == "ESPCN"
    assert report.rows[0].gain == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("spacing", "axes"),
    [
        ((1.0, 1.0, 1.1), ["z", "y", "x"]),
        ((4.0, 0.7, 0.8), ["y in (y, x)", "x in (x, y)"]),
    ],
)
def test_every_fine_axis_plays_z_for_a_through_plane_network(
    spacing: tuple[float, float, float], axes: list[str]
) -> None:
    network = build_generator("espcn", {"scale": (4, 1), "channels": 4, "axes": ("z", "plane")}).eval()
    rows = evaluate(network, volume(spacing)).rows
    assert [row.axes for row in rows] == axes
    assert [row.gain for row in rows] == pytest.approx([0] * len(rows), abs=1e-3)


def test_planes_of_a_thick_slice_volume_are_refined_one_by_one() -> None:
    hr = volume((4.0, 0.7, 0.8))
    network = build_generator("espcn", {"scale": (4, 1), "channels": 4, "axes": ("z", "plane")}).eval()
    row = evaluate(network, hr).rows[0]  # y plays z
    lr = degrade(hr, {"y": 4}, psf=BOX)
    sr = upscale(lr, "cubic", scale={"y": 4})
    assert row.psnr == pytest.approx(psnr(sr, hr, data_range=row.range), abs=1e-3)


def test_photographs_are_measured_as_they_are_trained_on(tmp_path: Path) -> None:
    values = raster(3, 40, 52).transpose("y", "x", "band").values.clip(0, 255).astype(np.uint8)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(values).save(tmp_path / name)
    network = build_generator("espcn", {"scale": (2, 2), "channels": 4}).eval()
    assert [row.scan for row in evaluate(network, tmp_path).rows] == ["a.png", "b.jpg"]
    row = evaluate(network, tmp_path / "a.png").rows[0]
    assert row.pixels == 3 * 40 * 52


def test_nodata_does_not_count() -> None:
    hr = raster()
    hr.values[:, 10:20, 10:20] = np.nan
    row = evaluate("cubic", hr, scale=2).rows[0]
    assert row.pixels < 2 * (40 * 52 - 100)
    assert np.isfinite(row.psnr)


def refined(hr: xr.DataArray, **degradation: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """What linear interpolation makes of a raster of whole LR pixels, and the LR raster."""
    lr = degrade(hr, {"y": 2, "x": 2}, **degradation)
    return upscale(lr, "linear", scale={"y": 2, "x": 2}), lr


def test_every_figure_is_that_of_its_metric() -> None:
    hr = raster(rows=180, cols=190)
    sr, lr = refined(hr)
    row = evaluate("linear", hr, scale=2).rows[0]
    bands = [ms_ssim(a, b, data_range=row.range) for a, b in zip(sr.values, hr.values, strict=True)]
    curves = [
        fourier_correlation(a, b, spacing=(10, 10)).correlation
        for a, b in zip(sr.values, hr.values, strict=True)
    ]
    assert row.mse == pytest.approx(mse(sr, hr), rel=1e-5)
    assert row.ms_ssim == pytest.approx(np.mean(bands), abs=1e-5)
    assert row.sam == pytest.approx(sam(sr, hr), rel=1e-4)
    assert row.ergas == pytest.approx(ergas(sr, hr, scale=2), rel=1e-4)
    assert row.correlation == pytest.approx(np.mean(curves, axis=0), abs=1e-5)
    again = degrade(sr, {"y": 2, "x": 2})
    assert row.consistency == pytest.approx(psnr(again, lr, data_range=row.range), abs=1e-3)


def test_resolution_is_in_the_unit_of_the_grid() -> None:
    metres, pixels = raster(rows=80, cols=90), raster(rows=80, cols=90).drop_vars(["y", "x"])
    metres.x.attrs["units"] = metres.y.attrs["units"] = "metre"
    first, second = evaluate("cubic", [metres, pixels], scale=2).rows
    assert (first.unit, second.unit) == ("m", "px")
    assert first.resolution == pytest.approx(10 * second.resolution)
    assert 2 < second.resolution < 4.5  # pixels: LR holds periods of 4


def test_through_plane_resolution_is_along_the_axis_that_played_z() -> None:
    network = build_generator("espcn", {"scale": (4, 1), "channels": 4, "axes": ("z", "plane")}).eval()
    rng = np.random.default_rng(1)
    coords = {axis: np.arange(n) * d for axis, n, d in zip("zyx", (64, 66, 70), (1.0, 0.9, 1.1), strict=True)}
    hr = xr.DataArray(rng.normal(size=(64, 66, 70)).cumsum(0), dims=("z", "y", "x"), coords=coords)
    row = evaluate(network, hr).rows[1]
    assert row.axes == "y"
    lr = degrade(hr.astype("float32"), {"y": 4}, psf=BOX)
    sr = upscale(lr, "cubic", scale={"y": 4}).values
    expected = fourier_correlation(sr, hr.values[:, :64], spacing=(0.9,), axes=(1,))
    assert row.correlation_cubic == pytest.approx(expected.correlation, abs=1e-5)


def test_noise_makes_the_figures_worse() -> None:
    clean, noisy = (
        evaluate("cubic", raster(), scale=2, degradation=DegradationConfig(**settings)).mean["psnr"]
        for settings in ({}, {"noise": "gaussian", "noise_sigma": 0.5})
    )
    assert noisy < clean - 1


@pytest.mark.parametrize(
    ("settings", "psf"),
    [
        ({"psf": "slr", "thickness": 0.8}, Psf("slr", thickness=0.8)),
        ({"fwhm": (0.8, 1.0)}, Psf.from_fwhm(0.9)),
    ],
)
def test_degradation_has_the_words_of_a_training_file(settings: dict[str, Any], psf: Psf) -> None:
    hr = raster(rows=40)
    spread = float(hr.std())
    noise = Noise("gaussian", 0.1 * spread)
    sr, _ = refined(hr, psf=psf, noise=noise, seed=3)
    degradation = DegradationConfig(noise="gaussian", noise_sigma=0.1, **settings)
    row = evaluate("linear", hr, scale=2, degradation=degradation, seed=3).rows[0]
    assert row.psnr == pytest.approx(psnr(sr, hr, data_range=row.range), abs=1e-3)


def test_model_for_any_factor_is_measured_at_the_asked_one() -> None:
    network = build_generator("vdsr", {"scale_range": ((1.5, 4), (1.5, 4)), "channels": 4, "depth": 3})
    hr = raster(rows=60, cols=75)
    report = evaluate(network.eval(), hr, scale=2.5)
    assert report.scale == (2.5, 2.5)
    cubic = upscale(degrade(hr, 2.5), "cubic", scale=2.5)
    assert report.rows[0].psnr_cubic == pytest.approx(psnr(cubic, hr, data_range=report.rows[0].range))


def guided() -> torch.nn.Module:
    """A guided network with weights of its own."""
    torch.manual_seed(0)
    network = build_generator("guided", {"scale": (2, 2), "guide_channels": 1, "channels": 4, "blocks": 1})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def test_guided_model_gets_the_guide_of_each_scan() -> None:
    network = guided()
    scans = [raster(1, 40, 52), raster(1, 44, 50)]
    guides = [raster(3, 40, 52)[2], raster(3, 44, 50)[2]]
    rows = evaluate(network, scans, guides=guides).rows
    for row, hr, guide in zip(rows, scans, guides, strict=True):
        sr = upscale(degrade(hr, {"y": 2, "x": 2}), network, guide=guide)
        assert row.psnr == pytest.approx(psnr(sr, hr, data_range=row.range), abs=1e-3)


def test_finer_guide_counts_as_its_mean_over_the_pixels_of_the_scan() -> None:
    scan, mean = raster(1, 40, 52), raster(3, 40, 52)[2]
    coords = {"y": 902.5 - 5 * np.arange(80), "x": 97.5 + 5 * np.arange(104)}
    fine = xr.DataArray(np.kron(mean.values, np.ones((2, 2), np.float32)), coords, ("y", "x"))
    fine[1::2] += 1
    fine[::2] -= 1
    found = [evaluate(guided(), scan, guides=guide).rows[0].psnr for guide in (mean, fine)]
    assert found[1] == pytest.approx(found[0], abs=1e-4)


def test_discriminator_is_right_as_often_as_chance_allows(tmp_path: Path) -> None:
    arguments = {"channels": 4}
    module = build_discriminator("patch", arguments, size=(16, 16), in_channels=1)
    path = save_discriminator(
        module,
        tmp_path / "d.safetensors",
        architecture="patch",
        arguments=arguments,
        size=(16, 16),
        in_channels=1,
    )
    row = evaluate("cubic", raster(rows=64, cols=70), scale=2, discriminator=path).rows[0]
    assert row.accuracy_sr == row.accuracy_cubic  # the model is cubic
    assert 0 <= row.accuracy_hr <= 1
    stored = json.loads(evaluate("cubic", raster(), scale=2).to_json())
    assert stored["rows"][0]["accuracy_hr"] is None


def test_figure_holds_every_trial(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra samples")
    sizes = []
    for name, scans in (("one", [raster(rows=64)]), ("two", [raster(rows=64), raster(1, 80, 60)])):
        evaluate("linear", scans, scale=2, figure=tmp_path / f"{name}.png")
        head = (tmp_path / f"{name}.png").read_bytes()[:24]
        sizes.append((int.from_bytes(head[16:20]), int.from_bytes(head[20:24])))
    (wide, high), (same, higher) = sizes
    assert same == wide
    assert high * 1.8 < higher < high * 2.2


def test_report_reads_as_json_and_as_table() -> None:
    report = evaluate("cubic", [raster(), raster(1)], scale=2)
    stored = json.loads(report.to_json())
    assert len(stored["rows"]) == 2
    assert stored["rows"][1]["sam"] is None
    assert stored["mean"]["psnr"] == pytest.approx(np.mean([row.psnr for row in report.rows]))
    lines = report.table().splitlines()
    assert lines[0].startswith("cubic, scale (2, 2)")
    assert " ".join(lines[1].split()) == "scan axes range MSE cubic PSNR cubic gain SSIM cubic"
    assert [line.split()[0] for line in lines[2:5]] == ["land", "land", "mean"]
    assert lines[6].split() == ["mean", "cubic", "cubic"]
    means = dict(re.split(r" {2,}", line, maxsplit=1) for line in lines[7:])
    assert means["spectral angle, rad"].split() == [f"{report.mean['sam']:.4f}"] * 2
    assert means["ERGAS"].split() == [f"{report.mean['ergas']:.3f}"] * 2
    assert "MS-SSIM" not in means  # the rasters are too small


def test_mean_of_resolutions_needs_one_unit() -> None:
    degrees = raster(1, 80, 90)
    degrees.x.attrs["units"] = "degrees_east"
    report = evaluate("cubic", [raster(1, 80, 90), degrees], scale=2)
    assert np.isnan(report.mean["resolution"])
    assert np.isfinite(report.mean["psnr"])


def test_mean_of_no_figures_is_nan() -> None:
    assert np.isnan(Report("m", (2, 2), "", ()).mean["psnr"])


def test_scans_are_read_from_a_folder(shared_data: Path) -> None:
    report = evaluate("cubic", shared_data / "satellite/aerial_new_brunswick_50cm", scale=2)
    assert [row.scan for row in report.rows] == ["nb_1of2.tif", "nb_2of2.tif"]


def volumetric() -> Any:
    """A discriminator of volumes."""
    module: Any = build_discriminator("patch", {"channels": 4}, size=(8, 12, 16), in_channels=1)
    module.size, module.in_channels, module.loss = (8, 12, 16), 1, ""
    return module


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: evaluate("cubic", raster()), ConfigError, "no scale of its own"),
        (lambda: evaluate("cubic", [], scale=2), ConfigError, "no readable scans"),
        (lambda: evaluate("nothing", raster()), ModelError, "no model 'nothing'"),
        (lambda: evaluate("cubic", raster() * 0, scale=2), GridError, "land is constant or invalid"),
        (lambda: evaluate("cubic", raster(), scale=2, guides=raster()), ConfigError, "cubic takes no guide"),
        (lambda: evaluate(guided(), raster()), ConfigError, "takes a guide"),
        (lambda: evaluate(guided(), [raster()] * 2, guides=[raster(1)]), ConfigError, "no guide for land"),
        (lambda: evaluate(guided(), raster(), guides=[raster(1)] * 2), ConfigError, "land has no scan"),
        (
            lambda: evaluate(guided(), raster(), guides=raster(1, 30).drop_vars(["y", "x"])),
            GridError,
            "bring it to the same grid",
        ),
        (
            lambda: evaluate("cubic", raster(), scale=2, discriminator=volumetric()),
            ConfigError,
            "takes 1 bands of patches",
        ),
        (
            lambda: evaluate(build_generator("vdsr", {"scale_range": ((2, 4), (2, 4))}), raster()),
            ConfigError,
            "does any factor",
        ),
        (
            lambda: evaluate(build_generator("espcn", {"scale": (2, 2)}), raster(), scale=3),
            ConfigError,
            "leave scale out",
        ),
        (
            lambda: evaluate(build_generator("espcn", {"scale": (2, 2, 2)}), raster()),
            GridError,
            "works on",
        ),
        (
            lambda: evaluate(build_generator("espcn", {"scale": (4, 1), "axes": ("z", "plane")}), raster()),
            GridError,
            "needs a volume",
        ),
    ],
)
def test_impossible_evaluation_is_refused(call: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()  # type: ignore[operator]
