"""Training on one scan alone: the settings that follow from it, and a model that beats cubic on it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import xarray as xr
from helpers.builders import raster
from PIL import Image
from typer.testing import CliRunner

from sr_imaging import ConfigError, degrade, read, self_config, train, upscale, write
from sr_imaging.cli.__main__ import app
from sr_imaging.evaluation.metrics.pixels import data_range, psnr
from sr_imaging.image.grid.volumes import volume


def tissue(*shape: int, seed: int = 0) -> np.ndarray:
    """Blobs with sharp borders and a little noise, the same in all directions."""
    rng = np.random.default_rng(seed)
    field = scipy.ndimage.gaussian_filter(rng.normal(size=shape), 2.5)
    labels = np.digitize(field, np.quantile(field, [0.3, 0.5, 0.8]))
    return (200.0 * labels + 2 * rng.normal(size=shape)).astype(np.float32)


def placed(values: np.ndarray, spacing: tuple[float, float, float], **reference: Any) -> xr.DataArray:
    matrix = np.eye(4)[:, [2, 1, 0, 3]] * [*spacing, 1]
    return volume(values, matrix, reference=reference)


def quick(config: Any, tmp_path: Path, *, steps: int, patch: Any) -> Any:
    """The same run with a small network and few steps."""
    arguments = {**config.model.arguments, "channels": 12, "blocks": 1}
    return replace(
        config,
        output=str(tmp_path / "out"),
        data=replace(config.data, patch=patch, batch=4, validation_images=1),
        model=replace(config.model, arguments=arguments, start=""),
        pixel=replace(config.pixel, steps=steps, rate=3e-3),
        loop=replace(config.loop, validate_every=steps, checkpoint_every=steps),
    )


@pytest.mark.slow
def test_model_for_thick_slices_beats_cubic_on_its_own_scan(tmp_path: Path) -> None:
    fine = placed(tissue(30, 64, 60), (1.0, 1.0, 1.0))
    thick = degrade(fine, {"z": 3})
    path = write(thick, tmp_path / "thick.nii.gz")
    config = quick(self_config(path), tmp_path, steps=80, patch=(8, 24))
    model = train(config, progress=False)
    span = data_range(fine.values)
    own, cubic = (
        psnr(upscale(thick, name, **scale).values, fine.values, data_range=span)
        for name, scale in ((str(model), {}), ("cubic", {"scale": {"z": 3}}))
    )
    assert own > cubic + 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scan", "factor", "steps", "least"),
    [
        ("medical/ct_small_nifti/example_ct.nii.gz", 3, 60, 0.5),
        ("medical/dcm_mr_t1_philips_elition_oblique", 4, 10, 0.5),
    ],
)
def test_scan_on_its_own_beats_cubic_on_real_volumes(
    shared_data: Path, tmp_path: Path, scan: str, factor: int, steps: int, least: float
) -> None:
    fine = read(shared_data / scan).astype(np.float32)
    fine = fine.isel(z=slice(0, fine.sizes["z"] // factor * factor))
    thick = degrade(fine, {"z": factor})
    path = write(thick, tmp_path / "thick.nii.gz")
    model = train(self_config(path, output=tmp_path / "out", steps=steps), progress=False)
    span = data_range(fine.values)
    gain = [
        psnr(upscale(thick, name, **scale).values, fine.values, data_range=span)
        for name, scale in ((str(model), {}), ("cubic", {"scale": {"z": factor}}))
    ]
    assert gain[0] > gain[1] + least, gain


def test_settings_of_thick_slices_follow_from_the_scan(tmp_path: Path) -> None:
    scan = placed(tissue(12, 64, 50), (4.1, 1.0, 1.1), modality="CT", slice_thickness=3.0)
    config = self_config(write(scan, tmp_path / "liver.nii.gz"), output=tmp_path, steps=7, seed=3)
    assert config.model.arguments["scale"] == (4, 1)
    assert config.model.start == "ct-through-x4"
    assert config.data.patch == (12, 50)
    assert config.degradation.thickness == pytest.approx(3 / 4.1, abs=1e-3)
    assert (config.name, config.modality, config.pixel.steps, config.seed) == ("liver-self", "CT", 7, 3)


def test_factor_without_bundled_model_starts_afresh(tmp_path: Path) -> None:
    config = self_config(write(placed(tissue(12, 64, 50), (2.2, 1.0, 1.0)), tmp_path / "a.nii.gz"))
    assert config.model.arguments["scale"] == (2, 1)
    assert config.model.start == ""


def test_raster_is_taught_by_its_own_downsampling(tmp_path: Path) -> None:
    config = self_config(write(raster((3, 60, 70)), tmp_path / "a.tif"))
    assert config.model.arguments["scale"] == (2, 2)
    assert config.model.start == "raster-x2"
    assert config.data.patch == 30


@pytest.mark.parametrize(
    ("spacing", "shape", "match"),
    [
        ((1.2, 1.0, 1.0), (12, 64, 50), "less than 1.5 times as fine"),
        ((4.0, 1.0, 1.0), (12, 64, 14), "show 14 pixels without nodata, fewer than the 4 times 4"),
    ],
)
def test_scan_with_nothing_to_teach_is_refused(
    tmp_path: Path, spacing: tuple[float, float, float], shape: tuple[int, ...], match: str
) -> None:
    path = write(placed(tissue(*shape), spacing), tmp_path / "a.nii.gz")
    with pytest.raises(ConfigError, match=match):
        self_config(path)


@pytest.mark.parametrize("shape", [(1, 96, 120), (1, 64, 200)])
def test_scan_with_nodata_in_its_middle_can_teach(tmp_path: Path, shape: tuple[int, ...]) -> None:
    da = raster(shape)
    values = da.values.copy()
    values[:, shape[1] // 2, shape[2] // 2] = np.nan
    values[:, :, :9] = np.nan
    path = write(da.copy(data=values).rio.write_nodata(np.nan), tmp_path / "a.tif")
    config = self_config(path, output=tmp_path / "out", steps=1)
    assert config.data.patch < min(shape[1:]) // 2
    assert train(config, progress=False).exists()


def test_photograph_is_refused_and_its_remedy_works(tmp_path: Path) -> None:
    values = tissue(40, 48).clip(0, 255).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"a\.png is a photograph, .* store it as GeoTIFF first"):
        self_config(tmp_path / "a.png")
    path = write(read(tmp_path / "a.png"), tmp_path / "a.tif")
    assert self_config(path).model.start == "raster-x2"
    assert upscale(read(path), "raster-x2").shape == (1, 80, 96)


def test_folder_of_several_scans_is_refused(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        write(raster((1, 30, 40)), tmp_path / name)
    with pytest.raises(ConfigError, match="holds 2 scans; name one file"):
        self_config(tmp_path)


def test_command_line_trains_on_one_scan(tmp_path: Path) -> None:
    path = write(raster((1, 32, 40)), tmp_path / "field.tif")
    result = CliRunner().invoke(
        app, ["train", "--self", str(path), "-o", str(tmp_path / "out"), "--steps", "1", "--quiet"]
    )
    assert result.exit_code == 0
    model = Path(result.stdout.strip())
    assert model == tmp_path / "out" / "field-self.safetensors"
    assert upscale(read(path), str(model)).shape == (1, 64, 80)  # without a warning of other spacings


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "give RUN.TOML or --self SCAN"),
        (["run.toml", "--self", "a.tif"], "one of the two"),
        (["run.toml", "--steps", "3"], "go with --self"),
    ],
)
def test_command_line_takes_one_kind_of_run(arguments: list[str], match: str) -> None:
    result = CliRunner().invoke(app, ["train", *arguments])
    assert result.exit_code == 2
    assert match in result.stderr
