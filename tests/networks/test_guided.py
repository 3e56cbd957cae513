"""Guided generators: what they may see of the guide, and a guide that must lie on the grid of the result."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from helpers.builders import SMALL, fine_like, generator, raster, scan, smooth
from torch import Tensor
from typer.testing import CliRunner

import sr_imaging
from sr_imaging import GridError, InputTypeError, ModelError
from sr_imaging.cli.__main__ import app
from sr_imaging.inference.tiling.wrappers import BothPlanes, Windowed
from sr_imaging.models.card import ModelCard
from sr_imaging.models.model_file import load_model, save_model
from sr_imaging.networks import GeneratorModule, build_generator, replicate
from sr_imaging.networks.layers import shuffle, unshuffle

GUIDED: list[dict[str, Any]] = [
    {"scale": (2, 3)},
    {"scale": (3, 2), "in_channels": 3, "guide_channels": 2},
    {"scale": (4, 1), "axes": ("z", "plane")},
    {"scale": (1, 2, 3), "guide_channels": 2, "channels": 3},
    {"scale": (2, 3), "latent_channels": 1},
]
guided = pytest.mark.parametrize("arguments", GUIDED)


def pair(module: Any, n: tuple[int, ...] = (7, 6, 5)) -> tuple[Tensor, Tensor]:
    """An image and its guide, with halo."""
    wide = [size + 2 * h for size, h in zip(n, module.halo, strict=False)]
    fine = [size * s for size, s in zip(wide, module.scale, strict=True)]
    x, guide = smooth((2, module.in_channels, *wide)), smooth((2, module.guide_channels, *fine), seed=1)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(guide, dtype=torch.float32)


@guided
def test_guided_generator_shape_is_the_scaled_core(arguments: dict[str, Any]) -> None:
    module = generator("guided", **arguments)
    n = (7, 6, 5)[: module.spatial_dims]
    fine = [size * s for size, s in zip(n, module.scale, strict=True)]
    assert module(*pair(module)).shape == (2, module.in_channels, *fine)


@guided
def test_guided_generator_reaches_as_far_as_its_halo_in_both_images(arguments: dict[str, Any]) -> None:
    module = generator("guided", **arguments).double()
    x, guide = (t.double().requires_grad_() for t in pair(module, (3, 3, 3)))
    y = module(x, guide)
    for k, s in enumerate(module.scale):
        y = y.narrow(2 + k, s, s)
    of_x, of_guide = torch.autograd.grad((y * torch.rand_like(y)).sum(), (x, guide))
    for k, s in enumerate(module.scale):
        for gradient, step in ((of_x, 1), (of_guide, s)):
            touched = gradient.abs().sum(tuple(d for d in range(gradient.ndim) if d != 2 + k)) != 0
            at = torch.nonzero(touched).ravel() // step
            inner = module.halo[k] - (2 if module.latent_channels else 0)  # without noise, its unit is unused
            middle = module.halo[k] + 1
            assert (int(at.min()), int(at.max())) == (middle - inner, middle + inner)


@guided
def test_guided_tile_is_part_of_the_whole(arguments: dict[str, Any]) -> None:
    module = generator("guided", **arguments)
    x, guide = pair(module, (9, 8, 7))
    whole = module(x, guide)
    at, halo, scale = (2, 1, 3)[: module.spatial_dims], module.halo, module.scale
    seen = [slice(a, a + 3 + 2 * h) for a, h in zip(at, halo, strict=True)]
    fine = [slice(s.start * f, s.stop * f) for s, f in zip(seen, scale, strict=True)]
    part = module(x[(..., *seen)], guide[(..., *fine)])
    made = [slice(a * s, (a + 3) * s) for a, s in zip(at, scale, strict=True)]
    torch.testing.assert_close(part, whole[(..., *made)], rtol=0, atol=1e-5)


@guided
def test_gradient_reaches_every_weight_and_both_images(arguments: dict[str, Any]) -> None:
    module = generator("guided", **arguments).train()
    x, guide = (t.requires_grad_() for t in pair(module))
    module(x, guide).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    assert x.grad is not None
    assert guide.grad is not None
    assert min((x.grad != 0).float().mean(), (guide.grad != 0).float().mean()) > 0.5


@guided
def test_guided_generator_commutes_with_a_change_of_unit_of_the_image(arguments: dict[str, Any]) -> None:
    module = generator("guided", **arguments, gain=0.3)
    x, guide = pair(module)
    left, right = module(250 * x - 70, guide), 250 * module(x, guide) - 70
    torch.testing.assert_close(left, right, rtol=0, atol=1e-4 * 250)  # float32 of an offset image


@guided
def test_guided_generator_is_blind_to_gain_and_offset_of_each_band_of_the_guide(
    arguments: dict[str, Any],
) -> None:
    module = generator("guided", **arguments, gain=0.3)
    x, guide = pair(module)
    gain = torch.tensor([3.0, 500.0][: guide.shape[1]]).reshape(1, -1, *[1] * module.spatial_dims)
    torch.testing.assert_close(module(x, gain * guide + 2 * gain), module(x, guide), rtol=0, atol=1e-4)


@guided
def test_constant_guide_adds_nothing_to_the_image_alone(arguments: dict[str, Any]) -> None:
    module = generator("guided", **arguments, gain=0.3)
    x, guide = pair(module)
    flat = [module(x, torch.full_like(guide, value)) for value in (0.0, 0.1)]
    torch.testing.assert_close(*flat, rtol=0, atol=0)
    assert (module(x, guide) - flat[0]).abs().max() > 1e-2


def test_fresh_guided_generator_is_its_interpolation() -> None:
    module: Any = build_generator("guided", {"scale": (2, 3), "channels": 4})
    cubic: Any = build_generator("cubic", {"scale": (2, 3)})
    x, guide = pair(module)
    inner = x[..., module.halo[0] - 2 : -module.halo[0] + 2, module.halo[1] - 2 : -module.halo[1] + 2]
    torch.testing.assert_close(module(x, guide), cubic(inner), rtol=0, atol=1e-6)


@guided
def test_guided_model_is_saved_and_loaded(arguments: dict[str, Any], tmp_path: Path) -> None:
    arguments = {"channels": 4, **SMALL["guided"], **arguments}
    module = generator("guided", **arguments)
    card = ModelCard.of(module, name="m", architecture="guided", arguments=arguments)
    loaded: Any = load_model(save_model(module, tmp_path / "m.safetensors", card))
    x, guide = pair(module)
    assert torch.equal(loaded(x, guide), module(x, guide))


def test_unshuffle_undoes_shuffle() -> None:
    x = torch.tensor(smooth((2, 3 * 24, 5, 6, 7)))
    assert torch.equal(unshuffle(shuffle(x, (2, 3, 4)), (2, 3, 4)), x)


def test_both_planes_see_the_guide() -> None:
    planar = generator("guided", scale=(3, 1), axes=("z", "plane"))
    both = BothPlanes(planar)
    assert both.guide_channels == 1
    h = planar.halo[1]
    x = torch.tensor(smooth((1, 1, 4 + 2 * h, 5 + 2 * h, 6 + 2 * h)), dtype=torch.float32)
    guide = torch.tensor(smooth((1, 1, 3 * (4 + 2 * h), 5 + 2 * h, 6 + 2 * h)), dtype=torch.float32)
    zy = torch.stack([planar(x[..., k], guide[..., k]) for k in range(h, 6 + h)], -1)
    zx = torch.stack([planar(x[..., k, :], guide[..., k, :]) for k in range(h, 5 + h)], -2)
    torch.testing.assert_close(both(x, guide=guide), (zy + zx) / 2, rtol=0, atol=1e-5)


class Adding(GeneratorModule):
    """Without finite halo: the repeated image, plus noise and guide."""

    def __init__(self) -> None:
        super().__init__((2, 3), halo=None, latent_channels=1, guide_channels=2, multiple=4)

    def forward(self, x: Tensor, guide: Tensor, latent: Tensor) -> Tensor:
        """Run on sides of whole multiples."""
        assert x.shape[2] % 4 == x.shape[3] % 4 == 0
        big = [t.repeat_interleave(2, 2).repeat_interleave(3, 3) for t in (x, latent)]
        return big[0] + 10 * big[1] + 100 * guide[:, :1] + 1000 * guide[:, 1:]


@pytest.mark.parametrize("shape", [(9, 14), (3, 5), (16, 8)])
def test_windows_cut_noise_and_guide_as_the_image(shape: tuple[int, int]) -> None:
    module = Adding()
    fine = (2 * shape[0], 3 * shape[1])
    x, noise, guide = (torch.tensor(smooth(s)) for s in ((1, 1, *shape), (1, 1, *shape), (1, 2, *fine)))
    made = Windowed(module, (9, 6))(x, noise, guide)
    missing = [(0, -n % 4) for n in shape]
    more = [(0, b * s) for (_, b), s in zip(missing, (2, 3), strict=True)]
    whole = module(replicate(x, missing), replicate(guide, more), replicate(noise, missing))
    torch.testing.assert_close(made, whole[..., : fine[0], : fine[1]])


def setup_raster(bands: int = 3, **facts: Any) -> tuple[xr.DataArray, xr.DataArray, Any]:
    """A raster, a guide on the grid of its result, and a model."""
    da = raster((bands, 21, 26))
    pan = fine_like(da[0].drop_vars("band"), {"y": 2, "x": 3})
    pan = pan.copy(data=smooth(pan.shape, low=7000, high=9000).astype(np.float32))
    return da, pan, generator("guided", scale=(2, 3), gain=0.3, **facts)


def test_guided_result_does_not_depend_on_tiles_or_chunks() -> None:
    da, pan, module = setup_raster()
    whole = sr_imaging.upscale(da, module, guide=pan)
    lazy = da.chunk({"band": 2, "y": 10, "x": 9})
    for again in (
        sr_imaging.upscale(da, module, guide=pan, tile=8),
        sr_imaging.upscale(lazy, module, guide=pan).compute(),
        sr_imaging.upscale(lazy, module, guide=pan.chunk({"y": 11, "x": 50}), tile=8).compute(),
        sr_imaging.upscale(da, module, guide=pan.chunk({"y": 11, "x": 50})),
    ):
        np.testing.assert_allclose(again, whole, rtol=0, atol=2e-4)  # float32 of 200
    assert float(np.abs(whole - sr_imaging.upscale(da, module, guide=pan * 0)).max()) > 1


@pytest.mark.parametrize("chunked", [False, True])
def test_result_is_invalid_where_the_guide_is_and_sound_beside(chunked: bool) -> None:
    da, pan, module = setup_raster()
    hidden = pan.copy()
    hidden[9:30, 30:45] = np.nan
    hidden[::5, ::7] = np.nan
    da = da.chunk({"y": 10, "x": 9}) if chunked else da
    made = [sr_imaging.upscale(da, module, guide=hidden, tile=tile).compute() for tile in (None, 6, (3, 11))]
    np.testing.assert_array_equal(np.isnan(made[0]), np.broadcast_to(np.isnan(hidden), made[0].shape))
    for again in made[1:]:
        np.testing.assert_allclose(again, made[0], rtol=0, atol=2e-4)  # float32 of 200


def test_nodata_of_the_guide_is_its_own() -> None:
    da, pan, module = setup_raster()
    stored = pan.round().astype(np.uint16)
    nodata = int(stored[11, 17])
    with_nan = pan.round().where(stored != nodata)
    stored = stored.assign_attrs(_FillValue=nodata)
    made = sr_imaging.upscale(da, module, guide=stored)
    assert made.equals(sr_imaging.upscale(da, module, guide=with_nan))


def test_guide_with_masked_pixels_hides_them() -> None:
    da, pan, module = setup_raster()
    shown = xr.DataArray(smooth(pan.shape, seed=3) > 0.2, dims=pan.dims)
    made = sr_imaging.upscale(da, module, guide=pan.assign_coords(mask=shown))
    assert made.equals(sr_imaging.upscale(da, module, guide=pan.where(shown)))


def test_guide_lies_along_dims_of_its_own_or_of_the_image() -> None:
    da, pan, module = setup_raster(in_channels=3, guide_channels=2)
    two = xr.concat([pan, pan**2], "band").assign_coords(band=["a", "b"])
    made = sr_imaging.upscale(da, module, guide=two)
    others = two.rename(band="contrast").transpose("y", "contrast", "x")
    assert made.equals(sr_imaging.upscale(da, module, guide=others))
    months = xr.concat([da, da + 5], "time")
    guides = xr.concat([two, two], "time")
    np.testing.assert_allclose(sr_imaging.upscale(months, module, guide=guides)[0], made, rtol=0, atol=1e-3)


def test_guided_through_plane_model_takes_a_fine_volume() -> None:
    da = scan((5, 19, 22), dtype=np.float32)
    fine = fine_like(da, {"z": 4})
    fine = fine.copy(data=smooth(fine.shape, high=50).astype(np.float32))
    module = generator("guided", scale=(4, 1), axes=("z", "plane"), gain=0.3)
    made = sr_imaging.upscale(da, module, guide=fine)
    assert made.shape == (20, 19, 22)
    again = sr_imaging.upscale(da.chunk({"y": 9, "x": 11}), module, guide=fine, tile=8)
    np.testing.assert_allclose(again, made, rtol=0, atol=2e-3)  # float32 of 2100 HU


def test_plain_arrays_are_guided_by_plain_arrays() -> None:
    da, pan, module = setup_raster()
    made = sr_imaging.upscale(da.values, module, guide=pan.values)
    np.testing.assert_allclose(made, sr_imaging.upscale(da, module, guide=pan), rtol=0, atol=2e-4)


def test_dataset_is_guided_variable_by_variable() -> None:
    da, pan, module = setup_raster()
    ds = xr.Dataset({"a": da, "b": 2 * da})
    made: Any = sr_imaging.upscale(ds, module, guide=pan)
    assert made.a.equals(sr_imaging.upscale(da, module, guide=pan))


def shifted(pan: xr.DataArray, dim: str, pixels: float) -> xr.DataArray:
    step = float(pan[dim][1] - pan[dim][0])
    return pan.assign_coords({dim: pan[dim] + pixels * step})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda pan: shifted(pan, "x", 1.5), r"off the result's grid along 'x': by -1.5 pixels at its first"),
        (lambda pan: shifted(pan, "y", -0.6), r"along 'y': by \+0.6 pixels at its first edge and -0.6"),
        (lambda pan: pan[:, 1:], r"along 'x': by -1 pixels at its first edge and \+0 at its last, 77"),
        (lambda pan: pan[:, :9], "does not cover the result, off .* 9 for 78 pixels; crop the image to what"),
        (lambda pan: pan.isel(y=slice(None, None, 2)), "of 10, more than 5; give a finer guide"),
        (lambda pan: shifted(pan, "x", 500), "does not cover the scan along x; give one of the same place"),
        (lambda pan: pan[:, 1:].drop_vars("x"), "coordinates along y and x"),
        (
            lambda pan: pan.rio.write_crs("EPSG:3857"),
            "image and guide have different CRS, WGS 84 / UTM zone 33N and WGS 84 / Ps",
        ),
        (lambda pan: pan.drop_vars(["y", "x"]), "the guide has no coordinates along y and x"),
        (lambda pan: pan.expand_dims(z=[0.0, 1.0]), "the guide has dims"),
    ],
)
def test_guide_that_lies_elsewhere_is_refused(change: Any, text: str) -> None:
    da, pan, module = setup_raster()
    with pytest.raises(GridError, match=text):
        sr_imaging.upscale(da, module, guide=change(pan))


def test_guide_in_the_same_crs_in_other_words_is_taken() -> None:
    da, pan, module = setup_raster()
    da, pan = (one.rio.write_crs("EPSG:4326") for one in (da, pan))
    same, wanted = (
        sr_imaging.upscale(da, module, guide=one) for one in (pan.rio.write_crs("OGC:CRS84"), pan)
    )
    history = [one.attrs.pop("history").split(": ", 1)[1] for one in (same, wanted)]  # without the time
    assert history[0] == history[1]
    xr.testing.assert_identical(same, wanted)


@pytest.mark.parametrize("chunked", [False, True])
def test_guide_off_the_grid_counts_by_its_area_means(chunked: bool) -> None:
    da, pan, module = setup_raster()
    inner = da.isel(y=slice(2, -2), x=slice(2, -2))
    moved = shifted(shifted(pan, "y", 0.5), "x", -0.25)
    near = moved.values
    means = (near[:-1] + near[1:]) / 2  # the grid of the result lies half a pixel before each row
    means = 0.75 * means[:, :-1] + 0.25 * means[:, 1:]
    wanted = sr_imaging.upscale(inner, module, guide=pan[4:-4, 6:-6].copy(data=means[3:-4, 6:-5]))
    given = moved.chunk({"y": 11, "x": 50}) if chunked else moved
    made = sr_imaging.upscale(inner.chunk({"y": 7, "x": 8}) if chunked else inner, module, guide=given)
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-3)  # float32 of 9000 in the guide


def test_guide_whose_rows_run_the_other_way_is_turned() -> None:
    da, pan, module = setup_raster()
    wanted = sr_imaging.upscale(da, module, guide=pan)
    np.testing.assert_allclose(sr_imaging.upscale(da, module, guide=pan[::-1]), wanted, rtol=0, atol=2e-4)


def test_lazy_guide_off_the_grid_is_not_computed_early() -> None:
    da, pan, module = setup_raster()
    reads: list[int] = []
    blocks = pan.chunk({"y": 11, "x": 50}).data.map_blocks(lambda b: (reads.append(1), b)[1], dtype=pan.dtype)
    lazy = shifted(pan, "y", 0.5).copy(data=blocks)
    reads.clear()
    made = sr_imaging.upscale(da.chunk({"y": 10}), module, guide=lazy)
    assert not reads
    assert np.isfinite(made.compute()).all()
    assert reads


def test_invalid_pixels_of_a_guide_off_the_grid_stay_invalid() -> None:
    da, pan, module = setup_raster()
    stored = shifted(pan, "y", 0.5).round().astype(np.uint16).copy()
    stored[9, 30] = 0
    made = sr_imaging.upscale(da, module, guide=stored.assign_attrs(_FillValue=0))
    assert np.argwhere(np.isnan(made[0].values)).tolist() == [[9, 30], [10, 30]]


def turned(fine: xr.DataArray) -> xr.DataArray:
    """The same grid about another axis."""
    reference = fine.volume_ref.copy()
    reference.attrs["direction"] = tuple(np.eye(3)[[2, 1, 0]].ravel())
    return fine.assign_coords(volume_ref=reference)


def framed(fine: xr.DataArray) -> xr.DataArray:
    """The same grid in another frame of reference."""
    reference = fine.volume_ref.copy()
    reference.attrs["frame_of_reference_uid"] = "9.9"
    return fine.assign_coords(volume_ref=reference)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda fine: fine.assign_coords(z=fine.z + 1.0), "along 'z': by -0.8 pixels at its first edge"),
        (turned, "the axes of the scans are up to .* degrees apart"),
        (lambda fine: fine.drop_vars("volume_ref"), "only one of image and guide has a volume_ref"),
        (framed, "image and guide have different frames of reference, 1.2.3 and 9.9; register"),
    ],
)
def test_volume_that_lies_elsewhere_is_no_guide(change: Any, text: str) -> None:
    da = scan((5, 11, 12), dtype=np.float32)
    fine = fine_like(da, {"z": 4})
    with pytest.raises(GridError, match=text):
        sr_imaging.upscale(da, generator("guided", scale=(4, 1), axes=("z", "plane")), guide=change(fine))


@pytest.mark.parametrize(
    ("guide", "facts", "text"),
    [
        (None, {}, "Guided takes a guide of 1 bands on the grid of its result; give guide="),
        ("two", {}, "Guided takes a guide of 1 bands, this one has band=2"),
        ("one", {"guide_channels": 2}, "Guided takes a guide of 2 bands, this one has y=42, x=78"),
        ("times", {}, "dim 'time' of the guide .* is not that of the image; select one of it"),
    ],
)
def test_guide_of_other_bands_is_refused(guide: str | None, facts: dict[str, Any], text: str) -> None:
    da, pan, module = setup_raster(**facts)
    months = da.expand_dims(time=3)
    guides = {
        None: None,
        "one": pan,
        "two": xr.concat([pan, pan], "band"),
        "times": pan.expand_dims(time=2),
    }
    with pytest.raises(ModelError, match=text):
        sr_imaging.upscale(months, module, guide=guides[guide])


def test_guide_for_a_model_without_one_is_refused() -> None:
    da, pan, _ = setup_raster()
    with pytest.raises(ModelError, match="ESPCN takes no guide; leave it out or choose a guided model"):
        sr_imaging.upscale(da, generator("espcn", scale=(2, 3)), guide=pan)


@pytest.mark.parametrize("guide", ["pan.tif", np.zeros(3), np.ma.masked_array([[1.0]])])
def test_what_is_no_array_of_the_image_is_no_guide(guide: Any) -> None:
    da, _, module = setup_raster()
    with pytest.raises(InputTypeError, match=r"cannot be a guide; give a DataArray|has not the axes"):
        sr_imaging.upscale(da, module, guide=guide)


def test_real_panchromatic_band_guides_its_scene(shared_data: Path) -> None:
    folder = shared_data / "satellite/landsat8_pan_ms_gulfcoast"
    scene = sr_imaging.read(folder / "l8_B2345_30m.tif")[:2]
    pan = sr_imaging.read(folder / "l8_B8_pan_15m.tif").squeeze()
    module = generator("guided", scale=(2, 2), gain=0.3)
    end = scene[:, -30:, -40:]  # where the panchromatic grid ends half a pixel short
    cubic = sr_imaging.upscale(end, "cubic", scale=2)
    on_grid = pan.astype(np.float32).interp(y=cubic.y, x=cubic.x[:-1])
    made = sr_imaging.upscale(end, module, guide=pan)
    assert made.dtype == scene.dtype
    assert made.shape == (2, 60, 80)
    by_hand = sr_imaging.upscale(end[..., :-1], module, guide=on_grid[:, :-1])
    halo = 2 * module.halo[1]
    np.testing.assert_allclose(made[..., : -halo - 2], by_hand[..., :-halo], rtol=0, atol=1)
    assert int(np.abs(made.astype(int) - cubic.astype(int)).max()) > 10


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A raster, a guide for it and a guided model as files."""
    da, pan, _ = setup_raster()
    sr_imaging.write(da, tmp_path / "ms.tif")
    sr_imaging.write(pan, tmp_path / "pan.tif")
    arguments = {"scale": (2, 3), "channels": 8, "blocks": 1}
    module = generator("guided", gain=0.3, **arguments)
    card = ModelCard.of(module, name="m", architecture="guided", arguments=arguments)
    save_model(module, tmp_path / "m.safetensors", card)
    return tmp_path


def enhance(folder: Path, *more: str, model: str = "m.safetensors") -> Any:
    path = str(folder / model) if model.endswith("safetensors") else model
    command = ["upscale", str(folder / "ms.tif"), "-o", str(folder / "out.tif"), "-m", path, *more]
    return CliRunner().invoke(app, command)


def test_command_line_takes_a_guide(files: Path) -> None:
    done = enhance(files, "--guide", str(files / "pan.tif"))
    assert done.exit_code == 0, done.output
    da, pan, module = setup_raster()
    expected = sr_imaging.upscale(da, module, guide=pan)
    np.testing.assert_allclose(sr_imaging.read(files / "out.tif"), expected, rtol=0, atol=1e-3)


def test_resume_does_a_scan_again_with_another_guide(files: Path) -> None:
    enhance(files, "--guide", str(files / "pan.tif"))
    again = enhance(files, "--guide", str(files / "pan.tif"), "--resume")
    assert "1 up to date" in again.stderr
    sr_imaging.write(sr_imaging.read(files / "pan.tif") + 1, files / "new.tif")
    other = enhance(files, "--guide", str(files / "new.tif"), "--resume")
    assert "1 done" in other.stderr


@pytest.mark.parametrize(
    ("more", "model", "text"),
    [
        ([], "m.safetensors", "m takes a guide; add --guide FILE"),
        (["--guide", "pan.tif", "--scale", "y=2,x=3"], "cubic", "cubic takes no guide; leave --guide out"),
        (
            ["--guide", "none.tif"],
            "m.safetensors",
            "holds 0 readable scans where one is wanted; name its file",
        ),
        (["--guide", "ms.tif"], "m.safetensors", "pixels of 10, more than 5; give a finer guide"),
    ],
)
def test_command_line_says_what_is_wrong_with_a_guide(
    files: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], model: str, text: str
) -> None:
    monkeypatch.chdir(files)
    done = enhance(files, *more, model=model)
    assert done.exit_code in (2, 5)
    assert text in " ".join(done.output.split())
