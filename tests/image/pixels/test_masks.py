"""A mask beside the image: what it hides never reaches the model and comes back as it was."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import sr_imaging


def masked_scene(hidden: int, *, lazy: bool) -> xr.DataArray:
    """Two bands of 30 x 34 pixels; the right third is masked and filled with `hidden`."""
    rows, cols = np.mgrid[:30, :34]
    values = np.stack([1000 + 20 * rows + 10 * cols, 3000 - 15 * rows + 5 * cols]).astype(np.uint16)
    mask = cols < 22
    da = xr.DataArray(
        np.where(mask, values, hidden).astype(np.uint16),
        dims=("band", "y", "x"),
        coords={"y": 295.0 - 10 * np.arange(30), "x": 5.0 + 10 * np.arange(34), "mask": (("y", "x"), mask)},
    )
    return da.chunk(band=1, y=11, x=13) if lazy else da


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("ask", [{"scale": 2}, {"spacing": 4.0}])
def test_masked_pixels_do_not_reach_valid_ones(lazy: bool, ask: dict[str, float]) -> None:
    dark, bright = (
        sr_imaging.upscale(masked_scene(v, lazy=lazy), "cubic", **ask).compute() for v in (0, 60000)
    )
    valid = dark.coords["mask"].values
    np.testing.assert_array_equal(dark.values[:, valid], bright.values[:, valid])


@pytest.mark.parametrize("lazy", [False, True])
def test_masked_pixels_come_back_as_they_were(lazy: bool) -> None:
    sr = sr_imaging.upscale(masked_scene(7, lazy=lazy), "cubic", scale=2)
    assert sr.dtype == np.uint16
    assert (sr.chunks is not None) == lazy
    assert set(np.unique(sr.values[:, ~sr.coords["mask"].values])) == {7}


def test_mask_of_a_file_is_carried_to_the_finer_one(tmp_path: Path, shared_data: Path) -> None:
    source = sr_imaging.read(shared_data / "odd" / "geotiff_variants" / "cog_rgb_mask.tif")
    sr = sr_imaging.upscale(source, "cubic", scale=2)
    again = sr_imaging.read(sr_imaging.write(sr, tmp_path / "finer.tif"))
    coarse, fine = source.coords["mask"].values, again.coords["mask"].values
    assert not coarse.all()
    np.testing.assert_array_equal(fine, coarse.repeat(2, 0).repeat(2, 1))
