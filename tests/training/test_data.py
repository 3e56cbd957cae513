"""What patches come from: real pairs, guides, any factor, folders of images, and data that is refused."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
import xarray as xr
from helpers.builders import raster
from helpers.places import ROOT
from PIL import Image

from sr_imaging import ConfigError, degrade, train, write
from sr_imaging.degradation.psf import BOX, GAUSSIAN, Psf
from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.degradation.tensors import degrade_any
from sr_imaging.image.grid.volumes import volume
from sr_imaging.networks import build_generator
from sr_imaging.networks.interpolation import Interpolation
from sr_imaging.training.config.data import DataConfig
from sr_imaging.training.config.run import parse_config
from sr_imaging.training.data.batches import PatchBatches
from sr_imaging.training.data.patch_sizes import PatchPlan
from sr_imaging.training.data.scan_cache import cached_scans
from sr_imaging.training.data.scan_list import training_scans

DATA = DataConfig(train=("hr*",), patch=8, batch=4, per_plane=2)


def fields(*shape: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    sigma = [0] * (len(shape) - 2) + [1.2, 1.2]
    return (1000 + 200 * scipy.ndimage.gaussian_filter(noise, sigma)).astype(np.float32)


def image(
    bands: int, rows: int, cols: int, *, seed: int = 0, step: tuple[float, float] = (-10.0, 20.0)
) -> Any:
    da = raster((bands, rows, cols), step=step)
    return da.copy(data=fields(bands, rows, cols, seed=seed))


def drawn(
    root: Path,
    data: DataConfig,
    degradation: DegradationConfig | None = None,
    *,
    architecture: str = "espcn",
    part: tuple[int, int] = (0, 1),
    **arguments: Any,
) -> PatchBatches:
    degradation = degradation or DegradationConfig(psf="box")
    arguments = arguments or {"scale": (2, 2), "channels": 4}
    plan = PatchPlan.of(build_generator(architecture, arguments), data, degradation)
    scans = cached_scans(training_scans(data, root), data, plan)
    return PatchBatches(scans, plan=plan, data=data, degradation=degradation, seed=0, part=part)


def test_context_beside_nodata_is_filled_and_the_patch_itself_is_whole(tmp_path: Path) -> None:
    da = image(1, 40, 60)
    values = da.values.copy()
    values[:, :, :12] = np.nan
    values[:, :12] = np.nan
    values[:, 30:] = np.nan
    write(da.copy(data=values).rio.write_nodata(np.nan), tmp_path / "hr.tif")
    batch = drawn(tmp_path, DATA)[0]  # 16 rows of 18: no context of 8 above and below would be valid
    assert batch["hr"].shape[-2:] == (16, 16)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in batch.values())


@pytest.mark.parametrize("partner", ["lr", "validation"])
def test_partners_and_held_out_scans_have_the_unit_of_the_others(tmp_path: Path, partner: str) -> None:
    fine = image(1, 48, 64)
    write(fine.assign_attrs(units="m"), tmp_path / "hr.tif")
    other = fine if partner == "validation" else degrade(fine, 2)
    write(other.assign_attrs(units="cm"), tmp_path / "other.tif")
    data = replace(DATA, train=("hr.tif",), **{partner: ("other.tif",)})
    config = parse_config({"name": "a", "data": {"train": ["hr.tif"]}, "pixel": {"steps": 1}})
    with pytest.raises(ConfigError, match=r"is in c?m and .* in c?m; train on scans of one unit"):
        train(replace(config, data=data, output=str(tmp_path / "out")), data_root=tmp_path, progress=False)


def test_scan_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    write(image(1, 48, 64), tmp_path / "hr.tif")
    (tmp_path / "link.tif").symlink_to(tmp_path / "hr.tif")
    names = ("hr.tif", str(tmp_path / "hr.tif"), "link.tif")
    assert len(training_scans(replace(DATA, train=names), tmp_path)) == 1
    data = replace(DATA, train=("hr.tif",), validation=("link.tif",))
    config = parse_config({"name": "a", "data": {"train": ["hr.tif"]}, "pixel": {"steps": 1}})
    with pytest.raises(ConfigError, match=r"is in data.train and in data.validation"):
        train(replace(config, data=data, output=str(tmp_path / "out")), data_root=tmp_path, progress=False)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    fine = image(2, 90, 120)
    write(fine, tmp_path / "hr.tif")
    write(degrade(fine, 2, psf=BOX).isel(y=slice(2, None), x=slice(0, 50)), tmp_path / "lr.tif")
    return tmp_path


PAIR = replace(DATA, lr=("lr.tif",))


def test_real_pairs_are_crops_of_one_place(pair: Path) -> None:
    for step in range(4):  # flips and turns included
        batch = drawn(pair, PAIR)[step]
        assert batch["lr"].shape == (4, 1, 16, 16)  # the halo of espcn is 4
        inner = batch["lr"][:, :, 4:-4, 4:-4]
        torch.testing.assert_close(inner, torch.nn.functional.avg_pool2d(batch["hr"], 2), rtol=0, atol=1e-4)


def test_halo_of_a_real_pair_is_that_of_its_lr_scan(pair: Path) -> None:
    coarse = degrade(image(2, 90, 120), 2, psf=BOX)
    plane = 7 * np.arange(45)[:, None] + 3 * np.arange(60) + np.zeros((2, 1, 1))
    write(coarse.copy(data=plane.astype(np.float32)), pair / "lr.tif", overwrite=True)
    lr = drawn(pair, replace(PAIR, max_shift=100.0, patch_weight=0.0))[0]["lr"]
    assert lr.shape[-2:] == (16, 16)
    for axis in (2, 3):  # even steps up to the outermost pixel of the halo
        assert (lr.diff(dim=axis).abs() > 1e-3).all()
        assert lr.diff(n=2, dim=axis).abs().max() < 1e-4


def test_real_pairs_of_volumes_keep_z_as_z(tmp_path: Path) -> None:
    matrix = np.eye(4)[:, [2, 1, 0, 3]] * [1.0, 0.8, 0.7, 1]
    fine = volume(fields(48, 40, 36), matrix)
    write(fine, tmp_path / "hr.nii.gz")
    write(degrade(fine, {"z": 3}), tmp_path / "lr.nii.gz")
    data = replace(DATA, lr=("lr.nii.gz",), patch=(6, 10))
    batch = drawn(tmp_path, data, scale=(3, 1), axes=("z", "plane"), channels=4)[0]
    assert batch["lr"].shape == (4, 1, 6 + 8, 10 + 8)
    inner = batch["lr"][:, :, 4:-4, 4:-4]
    torch.testing.assert_close(inner, torch.nn.functional.avg_pool2d(batch["hr"], (3, 1)), rtol=0, atol=1e-4)


def test_pairs_are_matched_by_name_before_order(tmp_path: Path) -> None:
    for folder in ("hr", "lr"):
        (tmp_path / folder).mkdir()
    for name, seed in (("a", 1), ("b", 2)):
        write(image(1, 60, 70, seed=seed), tmp_path / "hr" / f"{name}.tif")
        write(degrade(image(1, 60, 70, seed=seed), 2), tmp_path / "lr" / f"{name}.tif")
    data = replace(DATA, train=("hr/a.tif", "hr/b.tif"), lr=("lr/b.tif", "lr/a.tif"))
    assert [scan.lr.path.stem for scan in training_scans(data, tmp_path)] == ["a", "b"]


def test_images_of_other_names_are_paired_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "hr").mkdir()
    (tmp_path / "lr").mkdir()
    for number in (1, 2):
        picture = Image.fromarray(fields(48, 60, seed=number).clip(0, 255).astype(np.uint8))
        picture.save(tmp_path / "hr" / f"{number:04}.png")
        picture.reduce(2).save(tmp_path / "lr" / f"{number:04}x2.png")
    data = replace(DATA, train=("hr",), lr=("lr",))
    scans = training_scans(data, tmp_path)
    assert [(s.hr.path.stem, s.lr.path.stem) for s in scans] == [("0001", "0001x2"), ("0002", "0002x2")]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda da: da.copy(data=np.roll(da.values, (1, 2), (1, 2))),
            r"lie 0.99, 1.99 LR pixels off those of .*hr\.tif",
        ),
        (lambda da: da.assign_coords(y=da.y - 5), "lies 0.25, 0 LR pixels off the blocks"),
        (lambda da: da.isel(band=[0]), "has 2 bands, its LR scan 1"),
        (lambda da: degrade(image(2, 90, 120), 3), r"have the factors \(3, 3\), the model has \(2, 2\)"),
        (lambda da: da.assign_coords(x=da.x + 1e6), "do not overlap along x"),
    ],
)
def test_pair_that_does_not_fit_is_refused(pair: Path, change: Any, match: str) -> None:
    write(change(degrade(image(2, 90, 120), 2)), pair / "lr.tif", overwrite=True)
    with pytest.raises(ConfigError, match=match):
        drawn(pair, PAIR)


def test_other_number_of_partners_is_refused(pair: Path) -> None:
    write(image(1, 60, 70), pair / "hr2.tif")
    with pytest.raises(ConfigError, match=r"data\.lr finds 1 scans and data\.train finds 2"):
        drawn(pair, PAIR)


GUIDED: dict[str, Any] = {"scale": (2, 2), "channels": 4, "blocks": 1}


def test_guide_lies_on_the_hr_patch_and_its_context(tmp_path: Path) -> None:
    fine = image(1, 180, 240, step=(-5.0, 10.0))
    write(fine, tmp_path / "pan.tif")
    write(degrade(fine, 2, psf=BOX), tmp_path / "hr.tif")
    data = replace(DATA, guide=("pan.tif",))
    source = drawn(tmp_path, data, architecture="guided", **GUIDED)
    halo = build_generator("guided", GUIDED).halo[0]  # type: ignore[index]
    batch = source[0]
    assert batch["guide"].shape == (4, 1, 2 * (8 + 2 * halo), 2 * (8 + 2 * halo))
    inner = batch["guide"][..., 2 * halo : -2 * halo, 2 * halo : -2 * halo]
    for one, other in zip(inner, batch["hr"], strict=True):
        same = np.corrcoef(one.numpy().ravel(), other.numpy().ravel())[0, 1]
        assert same > 0.9999  # one content, up to gain and offset


@pytest.mark.slow
def test_guides_take_part_in_shared_batches(tmp_path: Path) -> None:
    write(image(1, 100, 120), tmp_path / "hr.tif")
    write(image(1, 100, 120, seed=1), tmp_path / "other.tif")
    data = replace(DATA, guide=("other.tif",))
    whole = drawn(tmp_path, data, architecture="guided", **GUIDED)[2]
    parts = [drawn(tmp_path, data, architecture="guided", part=(k, 2), **GUIDED)[2] for k in (0, 1)]
    for key in ("lr", "hr", "guide"):
        assert torch.equal(torch.cat([part[key] for part in parts]), whole[key])


def test_guided_generator_without_guide_is_refused(pair: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs a guide of 1 bands; name it in data\.guide"):
        drawn(pair, DATA, architecture="guided", **GUIDED)
    with pytest.raises(ConfigError, match="takes no guide"):
        drawn(pair, replace(DATA, guide=("lr.tif",)))


ANY: dict[str, Any] = {"scale_range": ((1.5, 3.0), (1.5, 3.0)), "channels": 4, "depth": 3}


def test_any_factor_patches_are_interpolated_onto_the_hr_grid(pair: Path) -> None:
    batch = drawn(pair, DATA, architecture="vdsr", **ANY)[0]
    assert batch["lr"].shape == (4, 1, 8 + 6, 8 + 6)
    assert batch["hr"].shape == (4, 1, 8, 8)
    close = (batch["lr"][:, :, 3:-3, 3:-3] - batch["hr"]).std() / batch["hr"].std()
    assert 0.01 < close < 0.9


@pytest.mark.parametrize("scale", [1.0, 1.7, 2.0, 2.9])
def test_any_factor_keeps_a_ramp(scale: float) -> None:
    place = torch.arange(80.0)
    ramp = (0.3 * place[:, None] + 0.7 * place)[None, None]
    out = degrade_any(ramp, Psf(sigma=0.4), (scale, scale), (25, 25))
    torch.testing.assert_close(out, ramp[..., 25:-25, 25:-25], rtol=0, atol=2e-5)  # float32 of 56


@pytest.mark.parametrize("psf", [BOX, GAUSSIAN])
def test_whole_factor_is_close_to_degrading_and_cubic(psf: Psf) -> None:
    values = fields(1, 96, 90)[0]
    lr = degrade(xr.DataArray(values, dims=("y", "x")), 2, psf=psf).values
    cubic = Interpolation("cubic", (2, 2))(torch.from_numpy(np.pad(lr, 2, mode="edge"))[None, None])
    out = degrade_any(torch.from_numpy(values)[None, None], psf, (2.0, 2.0), (20, 20))
    inner = cubic[..., 20:-20, 20:-20]
    assert (out - inner).std() < 0.05 * inner.std()  # HR is cubic here, and constant over its pixels there


def test_degradation_outside_the_range_of_the_generator_is_refused(pair: Path) -> None:
    with pytest.raises(ConfigError, match="outside the generator's"):
        drawn(pair, DATA, DegradationConfig(scale=(4.0, 5.0)), architecture="vdsr", **ANY)
    with pytest.raises(ConfigError, match="is for generators of any factor"):
        drawn(pair, DATA, DegradationConfig(scale=(2.0, 3.0)))


def test_ranges_of_slices_and_noise_give_finite_patches(pair: Path) -> None:
    degradation = DegradationConfig(
        psf=("slr", "gaussian"),
        thickness=(0.6, 1.4),
        mtf=(0.2, 0.4),
        noise="poisson-gaussian",
        noise_sigma=(0.0, 0.1),
        noise_gain=(0.0, 0.01),
    )
    source = drawn(pair, DATA, degradation)
    for step in range(4):
        batch = source[step]
        assert batch["lr"].shape == (4, 1, 16, 16)
        assert torch.isfinite(batch["lr"]).all()


def test_poisson_part_grows_with_the_signal(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1000, 200, dtype=np.float32)[None, :, None] + fields(1, 200, 160) * 0.01
    write(raster((1, 200, 160)).copy(data=ramp), tmp_path / "hr.tif")
    quiet = drawn(tmp_path, replace(DATA, patch=60, batch=2))
    loud = drawn(
        tmp_path,
        replace(DATA, patch=60, batch=2),
        DegradationConfig(psf="box", noise="poisson-gaussian", noise_gain=0.05),
    )
    error = torch.cat([loud[k]["lr"] - quiet[k]["lr"] for k in range(4)]) ** 2
    signal = torch.cat([quiet[k]["lr"] for k in range(4)])
    bright = signal > signal.mean()
    assert error[bright].mean() > 1.5 * error[~bright].mean()


@pytest.mark.parametrize(("value", "what"), [(np.nan, "3 NaN"), (np.inf, "0 NaN and 3 infinite values")])
def test_undeclared_values_are_refused_with_their_number(tmp_path: Path, value: float, what: str) -> None:
    da = image(1, 60, 70)
    da.values[0, 5, 7:10] = value
    write(da, tmp_path / "hr.tif")
    with pytest.raises(ConfigError, match=rf"hr\.tif has {what} that it does not declare"):
        drawn(tmp_path, DATA)


def test_undeclared_values_can_be_left_out(tmp_path: Path) -> None:
    da = image(1, 60, 70)
    da.values[0, 5, 7:10] = np.nan
    write(da, tmp_path / "hr.tif")
    assert torch.isfinite(drawn(tmp_path, replace(DATA, nan="nodata"))[0]["hr"]).all()


@pytest.mark.parametrize("nodata", [np.nan, -9999.0])
def test_declared_nodata_is_no_undeclared_value(tmp_path: Path, nodata: float) -> None:
    da = image(1, 60, 70)
    da.values[0, 5, 7:10] = nodata
    write(da.assign_attrs(_FillValue=np.float32(nodata)), tmp_path / "hr.tif")
    assert torch.isfinite(drawn(tmp_path, DATA)[0]["hr"]).all()


def test_scans_of_other_units_are_refused(tmp_path: Path) -> None:
    for name, unit in (("hr1.tif", "DN"), ("hr2.tif", "reflectance")):
        write(image(1, 60, 70).assign_attrs(units=unit), tmp_path / name)
    with pytest.raises(ConfigError, match=r"hr1\.tif is in DN and .*hr2\.tif in reflectance"):
        drawn(tmp_path, DATA)


def test_patch_that_the_strides_of_a_generator_cannot_take_is_refused(pair: Path) -> None:
    generator = build_generator("espcn", {"scale": (2, 2), "channels": 4})
    generator.multiple = 3  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"\(8, 8\) has a side that is not a multiple of 3.*\(6, 6\)"):
        PatchPlan.of(generator, DATA, DegradationConfig())


def test_psf_of_another_number_of_axes_is_refused(pair: Path) -> None:
    with pytest.raises(ConfigError, match="must have one name for each of 2 axes"):
        drawn(pair, DATA, DegradationConfig(psf=("box", "box", "box")))


def test_scans_beyond_the_memory_give_the_same_batches(tmp_path: Path) -> None:
    for number in range(3):
        write(image(1, 60, 70, seed=number), tmp_path / f"hr{number}.tif")
    kept = drawn(tmp_path, DATA)
    decoded = drawn(tmp_path, replace(DATA, cache_gb=1.5 * 4 * 60 * 70 / 2**30))
    assert (kept.scans.planes.cache_num, decoded.scans.planes.cache_num) == (3, 1)
    for step in range(3):
        torch.testing.assert_close(kept[step], decoded[step], rtol=0, atol=0)


def test_photographs_give_batches_of_their_colours(tmp_path: Path) -> None:
    (tmp_path / "hr").mkdir()
    for number in range(3):
        values = (fields(50, 64, 3, seed=number) / 8).clip(0, 255).astype(np.uint8)
        Image.fromarray(values).save(tmp_path / "hr" / f"{number}.jpg", quality=95)
    batch = drawn(tmp_path, replace(DATA, train=("hr",)), scale=(2, 2), channels=4, in_channels=3)[0]
    assert batch["hr"].shape == (4, 3, 16, 16)


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.split('"')[1])
def test_settings_of_the_page_on_training_are_a_run(block: str) -> None:
    config = parse_config(tomllib.loads(block))
    generator = build_generator(config.model.architecture, config.model.arguments)
    assert PatchPlan.of(generator, config.data, config.degradation).in_channels == generator.in_channels


def test_python_of_the_page_on_training_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(volume(fields(10, 40, 44), np.diag([1.0, 1.0, 4.0, 1.0])[:, [2, 1, 0, 3]]), "thick.nii.gz")
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(compile(block, "docs/training.md", "exec"), names)
    pair = names["pair"]
    assert (pair.scale, pair.offset, pair.shift()) == ((2, 2), (0.0, 0.0), (0.0, 0.0))
    assert pair.fine.shape == (54, 80)
    assert names["settings"].model.arguments["scale"] == (4, 1)
