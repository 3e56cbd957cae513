"""Patches: what is drawn, how LR and HR fit, that a batch follows from seed and step alone."""

from dataclasses import replace
from pathlib import Path

import monai.data
import nibabel
import numpy as np
import pytest
import rasterio
import torch
from monai.transforms import LoadImaged
from rasterio import Affine

from sr_imaging import ConfigError, GridError, degrade, find_scans, read
from sr_imaging.degradation.psf import BOX, GAUSSIAN, Psf, margin
from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.degradation.tensors import Degraded, degrade_batch
from sr_imaging.networks import build_generator
from sr_imaging.networks.views import views
from sr_imaging.training.config.data import DataConfig
from sr_imaging.training.data.batches import PatchBatches, patch_batches, random_state
from sr_imaging.training.data.loading import LoadScand, SrImagingReader
from sr_imaging.training.data.patch_sizes import PatchPlan
from sr_imaging.training.data.scan_cache import cached_scans
from sr_imaging.training.data.scan_list import find_training_scans
from sr_imaging.training.data.transforms import plain_tensors, take_plane

PIXELS = {"driver": "GTiff", "crs": "EPSG:32632", "transform": Affine(10, 0, 500000, 0, -20, 5000000)}


def write_raster(path: Path, values: np.ndarray, nodata: float | None = None) -> Path:
    bands, rows, cols = values.shape
    with rasterio.open(
        path, "w", count=bands, height=rows, width=cols, dtype=values.dtype, nodata=nodata, **PIXELS
    ) as file:
        file.write(values)
    return path


def texture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 10, size=shape).astype(np.float32)


def write_volume(path: Path, values: np.ndarray, spacing: tuple[float, float, float]) -> Path:
    """Values and spacing in the order z, y, x."""
    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([*spacing[::-1], 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def batches(
    path: Path,
    data: DataConfig,
    degradation: DegradationConfig | None = None,
    *,
    seed: int = 0,
    part: tuple[int, int] = (0, 1),
    **arguments: object,
) -> PatchBatches:
    degradation = degradation or DegradationConfig()
    generator = build_generator("espcn", {"scale": (2, 2), "channels": 4, **arguments})
    plan = PatchPlan.of(generator, data, degradation)
    scans = cached_scans(find_training_scans(data.train, path), data, plan)
    return PatchBatches(scans, plan=plan, data=data, degradation=degradation, seed=seed, part=part)


def crops(source: PatchBatches, step: int) -> torch.Tensor:
    """HR crops with their context, in the values of the scans."""
    planes: dict[tuple[int, int], object] = {}
    with plain_tensors():
        drawn = [
            source._draw_crop(random_state(source.seed, step, slot), step, slot, planes)
            for slot in source.slots
        ]
    return torch.cat([crop["hr"] for crop in drawn])


RASTER = DataConfig(train=("a.tif",), patch=8, batch=5, per_plane=2)


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    write_raster(tmp_path / "a.tif", texture(3, 70, 90))
    return tmp_path


def test_batch_has_lr_with_halo_and_hr_without(raster: Path) -> None:
    batch = batches(raster, replace(RASTER, patch=(8, 12)))[0]
    assert batch["lr"].shape == (5, 1, 8 + 8, 12 + 8)  # halo of espcn is 4
    assert batch["hr"].shape == (5, 1, 16, 24)


def test_batch_follows_from_seed_and_step(raster: Path) -> None:
    first, again = batches(raster, RASTER), batches(raster, RASTER)
    first[3]
    torch.testing.assert_close(first[7], again[7], rtol=0, atol=0)
    assert not torch.equal(first[7]["hr"], first[8]["hr"])
    assert not torch.equal(first[7]["hr"], batches(raster, RASTER, seed=1)[7]["hr"])


def test_workers_change_nothing(raster: Path) -> None:
    alone, helped = batches(raster, RASTER), batches(raster, replace(RASTER, workers=1))
    for one, other in zip(patch_batches(alone, 4, 7), patch_batches(helped, 4, 7), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("stop", [4, 5, 8])
def test_batches_come_in_their_order_however_few(raster: Path, stop: int) -> None:
    source = batches(raster, RASTER)
    found = [batch["hr"] for batch in patch_batches(source, 4, stop)]
    assert len(found) == stop - 4
    for step, hr in enumerate(found, start=4):
        assert torch.equal(hr, source[step]["hr"])


def test_parts_of_a_batch_are_the_whole_batch(raster: Path) -> None:
    data = replace(RASTER, batch=6, per_plane=4)
    degradation = DegradationConfig(sigma=(0.3, 0.6), noise="rician", noise_sigma=(0.1, 0.2))
    whole = batches(raster, data, degradation)[3]
    for world in (2, 3):
        parts = [batches(raster, data, degradation, part=(rank, world))[3] for rank in range(world)]
        for key, values in whole.items():
            assert torch.equal(torch.cat([part[key] for part in parts]), values)


def test_batch_that_processes_cannot_share_is_refused(raster: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.batch 5 must be a multiple of the 2 processes"):
        batches(raster, RASTER, part=(0, 2))


def test_lr_patch_is_the_degraded_hr_patch(raster: Path) -> None:
    batch = batches(raster, RASTER, DegradationConfig(psf="box"))[0]
    inner = batch["lr"][:, :, 4:-4, 4:-4]
    means = torch.nn.functional.avg_pool2d(batch["hr"], 2)
    torch.testing.assert_close(inner, means, rtol=0, atol=1e-5)


def test_patches_have_no_offset_and_about_one_variance(raster: Path) -> None:
    hr = batches(raster, RASTER)[0]["hr"]
    torch.testing.assert_close(hr.mean((1, 2, 3)), torch.zeros(5), rtol=0, atol=1e-5)
    assert ((hr.std((1, 2, 3)) - 1).abs() < 0.3).all()


def test_patch_weight_one_gives_every_patch_one_variance(raster: Path) -> None:
    hr = batches(raster, replace(RASTER, patch_weight=1.0))[0]["hr"]
    torch.testing.assert_close(hr.flatten(1).std(1), torch.ones(5), rtol=0, atol=1e-5)


def test_bands_taken_together_keep_their_order(tmp_path: Path) -> None:
    values = texture(3, 60, 60) + np.array([0, 1000, 2000], np.float32).reshape(3, 1, 1)
    write_raster(tmp_path / "a.tif", values)
    source = batches(tmp_path, replace(RASTER, patch_weight=0.0), in_channels=3)
    assert source[0]["lr"].shape[1] == 3
    drawn = crops(source, 0)
    assert (drawn.mean((2, 3)).diff(dim=1) > 900).all()


def test_nodata_never_enters_a_patch(tmp_path: Path) -> None:
    values = texture(1, 120, 120)
    values[0, ::50, ::50] = -9999
    write_raster(tmp_path / "a.tif", values, nodata=-9999)
    source = batches(tmp_path, replace(RASTER, patch=4))
    for step in range(5):
        drawn = crops(source, step)
        assert torch.isfinite(drawn).all()
        assert drawn.min() > 0


def test_flat_patches_are_drawn_less(tmp_path: Path) -> None:
    values = texture(1, 200, 200)
    values[:, :, :100] = 100 + 0.01 * values[:, :, :100]
    write_raster(tmp_path / "a.tif", values)
    source = batches(tmp_path, replace(RASTER, batch=40, patch=4, min_detail=0.5))
    flat = crops(source, 0)[..., 11:-11, 11:-11].std((1, 2, 3)) < 1
    assert flat.float().mean() < 0.15


def test_scans_without_any_patch_are_refused(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.full((1, 60, 60), 7, np.uint8))
    with pytest.raises(ConfigError, match="all nodata or constant"):
        batches(tmp_path, replace(RASTER, batch=1))[0]


def test_scan_smaller_than_its_context_still_gives_patches_from_all_over(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", texture(1, 20, 24))
    assert batches(tmp_path, RASTER)[0]["hr"].shape == (5, 1, 16, 16)


def test_scan_smaller_than_a_patch_is_refused_by_name(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", texture(1, 14, 90))
    with pytest.raises(ConfigError, match=r"a\.tif of shape \(14, 90\)"):
        batches(tmp_path, RASTER)


def test_scan_with_other_bands_is_refused(raster: Path) -> None:
    with pytest.raises(ConfigError, match="has 3 bands, the model takes 4"):
        batches(raster, RASTER, in_channels=4)


def test_pattern_that_finds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'\*\.tif' finds nothing"):
        find_training_scans(["*.tif"], tmp_path)


def test_scans_are_found_once_and_in_order(tmp_path: Path) -> None:
    for name in ("b.tif", "a.tif"):
        write_raster(tmp_path / name, texture(1, 20, 20))
    found = find_training_scans(["b.tif", "*.tif"], tmp_path)
    assert [scan.path.name for scan in found] == ["b.tif", "a.tif"]


def test_held_out_part_is_not_drawn_from(tmp_path: Path) -> None:
    values = texture(1, 100, 60)
    values[:, 80:] = 1e6 + values[:, 80:]
    write_raster(tmp_path / "a.tif", values)
    source = batches(tmp_path, replace(RASTER, held_out=0.2))
    assert max(float(crops(source, k).max()) for k in range(5)) < 1e5


def test_noise_has_its_strength(raster: Path) -> None:
    quiet = batches(raster, RASTER, DegradationConfig(psf="box"))[0]
    noisy = batches(raster, RASTER, DegradationConfig(psf="box", noise="gaussian", noise_sigma=0.5))[0]
    torch.testing.assert_close(quiet["hr"], noisy["hr"])
    assert (noisy["lr"] - quiet["lr"]).std() == pytest.approx(0.5, rel=0.2)


def test_range_of_psf_keeps_sizes(raster: Path) -> None:
    source = batches(raster, RASTER, DegradationConfig(sigma=(0.2, 0.8)))
    assert {source[step]["lr"].shape for step in range(4)} == {(5, 1, 16, 16)}


def test_through_plane_batches_come_from_thick_slices(tmp_path: Path) -> None:
    write_volume(tmp_path / "v.nii.gz", texture(5, 70, 80), (4.0, 0.7, 0.8))
    data = DataConfig(train=("v.nii.gz",), patch=(4, 10), batch=3)
    degradation = DegradationConfig(psf="box")
    batch = batches(tmp_path, data, degradation, scale=(4, 1), axes=("z", "plane"))[0]
    assert batch["lr"].shape == (3, 1, 4 + 8, 10 + 8)
    assert batch["hr"].shape == (3, 1, 16, 10)


def test_views_of_an_isotropic_volume_are_all_ordered_pairs() -> None:
    assert len(views((1.0, 1.1, 1.2), ("z", "plane"))) == 6
    assert views((1.0, 1.0, 2.0), ("z", "plane")) == [(0, 1), (1, 0)]
    assert views((1.0, 1.0, 1.0), ("z", "plane"), shape=(9, 50, 50), least=(16, 10)) == [(1, 2), (2, 1)]
    assert views((1.0, 1.0), ("z", "y", "x")) == []


@pytest.mark.parametrize("view", [(1, 2), (2, 1), (0, 2), (1, 0)])
def test_plane_is_the_one_of_its_index(view: tuple[int, int]) -> None:
    scan = torch.arange(2 * 4 * 5 * 6).reshape(2, 4, 5, 6).float()
    plane = take_plane(scan, view, 1, {0: 3, 1: 2, 2: 5})
    place: list[object] = [3, 2, 5]
    for axis in view:
        place[axis] = slice(None)
    wanted = scan[1][tuple(place)]  # type: ignore[index]
    assert torch.equal(plane[0], wanted if view[0] < view[1] else wanted.T)


@pytest.mark.parametrize("psf", [BOX, GAUSSIAN])
@pytest.mark.parametrize("scale", [(2, 3), (4, 1)])
def test_batch_operator_equals_degrade(psf: Psf, scale: tuple[int, int]) -> None:
    import xarray as xr

    values = texture(24, 36)
    border = [(margin(psf, s),) * 2 for s in scale]
    padded = torch.from_numpy(np.pad(values, border, mode="edge"))[None, None]
    wanted = degrade(xr.DataArray(values, dims=("y", "x")), scale, psf=psf)
    np.testing.assert_allclose(degrade_batch(padded, psf, scale)[0, 0], wanted, atol=1e-4)  # float32 of 100


def test_batch_of_a_broken_size_is_refused() -> None:
    with pytest.raises(GridError, match="15 HR pixels are not 2 times"):
        degrade_batch(torch.zeros(1, 1, 15, 16), BOX, (2, 2))


def test_degraded_is_a_monai_transform_over_one_area() -> None:
    hr = torch.from_numpy(texture(1, 12 + 6, 16 + 6))
    out = Degraded("hr", scale=(2, 2), psf=GAUSSIAN)({"hr": hr})
    assert out["lr"].shape == (1, 6, 8)
    torch.testing.assert_close(out["hr"], hr[:, 3:-3, 3:-3])


@pytest.mark.filterwarnings("ignore:NvImgCodec:UserWarning")  # of a reader that MONAI tries to set up
def test_reader_places_volumes_for_monai(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "v.nii.gz", texture(5, 7, 9), (3.0, 2.0, 1.0))
    image = LoadImaged("image", reader=SrImagingReader, ensure_channel_first=True)({"image": str(path)})[
        "image"
    ]
    assert image.shape == (1, 5, 7, 9)
    index = np.array([2, 3, 4, 1])  # z, y, x
    np.testing.assert_allclose(image.affine.numpy() @ index, [4, 6, 6, 1])  # RAS x, y, z in mm
    np.testing.assert_allclose(image[0].numpy(), read(path).values)


def test_reader_places_rasters_for_monai(raster: Path) -> None:
    values, meta = SrImagingReader().get_data(read(raster / "a.tif"))
    assert values.shape == (3, 70, 90)
    np.testing.assert_allclose(meta["affine"][:2, :2], [[0, 10], [-20, 0]])
    np.testing.assert_allclose(meta["affine"][:2, 3], [500005, 4999990])


def test_load_keeps_a_part_and_limits_values(raster: Path) -> None:
    out = LoadScand("hr", clip=(90, 110), kept=(0.5, 1.0))({"hr": raster / "a.tif"})
    assert out["hr"].shape == (3, 35, 90)
    assert (out["hr"].min(), out["hr"].max()) == (90, 110)
    assert out["hr_facts"]["spacing"] == (20, 10)
    assert out["hr_facts"]["unit"] == "m"


def test_monai_tracks_metadata_as_before_after_a_draw(raster: Path) -> None:
    batches(raster, RASTER)[0]
    assert monai.data.get_track_meta()


def test_real_scans_give_batches(shared_data: Path) -> None:
    folders = ("satellite/landsat7_chiapas_8band", "medical/mr_t1_colin27")
    assert all(find_scans(shared_data / folder)[0].verdict.ok for folder in folders)
    for folder in folders:
        batch = batches(shared_data, replace(RASTER, train=(folder,)))[0]
        assert torch.isfinite(batch["lr"]).all()
