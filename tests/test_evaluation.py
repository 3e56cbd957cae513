"""Evaluation: cubic against itself, planes, nodata, the report."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sr_imaging import ConfigError, GridError, ModelError, degrade, evaluate, upscale
from sr_imaging.degradation import BOX, Noise
from sr_imaging.evaluation import Report
from sr_imaging.metrics import data_range, psnr
from sr_imaging.networks import build_generator


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


def test_nodata_does_not_count() -> None:
    hr = raster()
    hr.values[:, 10:20, 10:20] = np.nan
    row = evaluate("cubic", hr, scale=2).rows[0]
    assert row.pixels < 2 * (40 * 52 - 100)
    assert np.isfinite(row.psnr)


def test_noise_makes_the_figures_worse() -> None:
    clean, noisy = (
        evaluate("cubic", raster(), scale=2, noise=noise).mean["psnr"]
        for noise in (Noise(), Noise("gaussian", 3.0))
    )
    assert noisy < clean - 1


def test_report_reads_as_json_and_as_table() -> None:
    report = evaluate("cubic", [raster(), raster(1)], scale=2)
    stored = json.loads(report.to_json())
    assert len(stored["rows"]) == 2
    assert stored["rows"][1]["sam"] is None
    assert stored["mean"]["psnr"] == pytest.approx(np.mean([row.psnr for row in report.rows]))
    lines = report.table().splitlines()
    assert lines[0].startswith("cubic, scale (2, 2)")
    assert lines[1].split() == ["scan", "axes", "PSNR", "cubic", "gain", "SSIM", "cubic"]
    assert [line.split()[0] for line in lines[2:]] == ["land", "land", "mean"]


def test_mean_of_no_figures_is_nan() -> None:
    assert np.isnan(Report("m", (2, 2), "", ()).mean["psnr"])


def test_scans_are_read_from_a_folder(shared_data: Path) -> None:
    report = evaluate("cubic", shared_data / "satellite/aerial_new_brunswick_50cm", scale=2)
    assert [row.scan for row in report.rows] == ["nb_1of2.tif", "nb_2of2.tif"]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: evaluate("cubic", raster()), ConfigError, "no scale of its own"),
        (lambda: evaluate("cubic", [], scale=2), ConfigError, "no readable scans"),
        (lambda: evaluate("nothing", raster()), ModelError, "no model 'nothing'"),
        (
            lambda: evaluate(build_generator("espcn", {"scale": (2, 2)}), raster(), scale=2),
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
