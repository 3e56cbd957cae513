"""Cloud Optimized GeoTIFF: written in one file, in one pass, as GDAL's own driver would lay it out."""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import rasterio
import xarray as xr
from helpers.builders import raster
from rasterio.shutil import copy

from sr_imaging import WriteError, write
from sr_imaging.errors import ReadError
from sr_imaging.io.raster import cog_layout
from sr_imaging.io.raster import write as geotiff_write

KINDS = ["plain", "float", "mask", "palette", "bands", "big", "chunks", "empty", "alpha"]


def image(kind: str, shape: tuple[int, int] = (1100, 1388)) -> xr.DataArray:
    """Return a raster with three levels of overviews, and one thing that sets it apart."""
    bands = {"palette": 1, "bands": 17}.get(kind, 2)
    size = shape if kind != "bands" else (600, 532)
    da = raster((bands, *size), dtype="float32" if kind == "float" else "uint8", high=200)
    if kind == "mask":
        valid = np.ones(size, bool)
        valid[: size[0] // 3, 100:700] = False
        da = da.assign_coords(mask=(("y", "x"), valid))
    if kind == "palette":
        da.attrs |= {"color_interp": ("palette",), "colour_table": '{"1": {"3": [9, 8, 7, 255]}}'}
    if kind == "alpha":
        da[1] = 255
        da[:, : size[0] // 3, 101:700] = 0
        da.attrs["color_interp"] = ("gray", "alpha")
    if kind == "chunks":
        da = da.chunk(y=333, x=517)
    if kind == "empty":
        da = (da * 0).astype("uint8").assign_attrs(_FillValue=np.uint8(0))
    return da


def places(path: Path) -> list[tuple[int, int]]:
    """First byte of the directory and of the first block of the image, then of its overviews."""
    with rasterio.open(path) as src:
        levels = [None, *range(len(src.overviews(1)))]
        told = [
            [src.get_tag_item(name, "TIFF", bidx=1, ovr=level) for name in ("IFD_OFFSET", "BLOCK_OFFSET_0_0")]
            for level in levels
        ]
    return [(int(directory), int(block)) for directory, block in told]


@pytest.mark.parametrize("kind", KINDS)
def test_cog_is_valid_and_small_overviews_come_first(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cogeo = pytest.importorskip("rio_cogeo.cogeo", reason="needs rio-cogeo")
    if kind == "big":
        monkeypatch.setattr(geotiff_write, "_CLASSIC_BYTES", 0)
    path = write(image(kind), tmp_path / "a.tif", format="cog")
    valid, errors, warned = cogeo.cog_validate(path, quiet=True)
    assert (valid, errors, warned) == (True, [], [])
    assert path.read_bytes()[2] == (43 if kind == "big" else 42)
    told = places(path)
    assert all(one[0] < other[0] for one, other in pairwise(told))
    assert all(one[1] > other[1] for one, other in pairwise(told))
    assert max(directory for directory, _ in told) < min(block for _, block in told)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_cog_and_its_overviews_are_those_of_gdals_own_driver(kind: str, tmp_path: Path) -> None:
    path = write(image(kind), tmp_path / "ours.tif", format="cog")
    plain = write(image(kind), tmp_path / "plain.tif")
    nearest = kind in ("mask", "palette")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        copy(
            plain, tmp_path / "gdal.tif", driver="COG", compress="deflate", predictor="yes",
            overview_resampling="nearest" if nearest else "average", bigtiff="no",
        )  # fmt: skip
    for level in (None, 0, 1):
        options: dict[str, Any] = {} if level is None else {"overview_level": level}
        if kind == "bands" and level == 1:
            continue
        with rasterio.open(path, **options) as ours, rasterio.open(tmp_path / "gdal.tif", **options) as its:
            # whole numbers are rounded once a level, halves by GDAL always up
            apart = 0 if level is None or nearest or kind == "float" else level + 1
            np.testing.assert_allclose(ours.read().astype(float), its.read(), rtol=1e-5, atol=apart)
            np.testing.assert_array_equal(ours.dataset_mask(), its.dataset_mask())
    if kind != "chunks":  # a block that several chunks fill is stored again with each
        assert path.stat().st_size < 1.05 * (tmp_path / "gdal.tif").stat().st_size + 2000


def overview(path: Path, level: int = 0) -> np.ndarray:
    with rasterio.open(path, overview_level=level) as src:
        return np.asarray(src.read())


@pytest.mark.parametrize("kind", ["flags", "bool", "band"])
def test_overviews_show_no_class_between_two(kind: str, tmp_path: Path) -> None:
    classes = np.indices((1100, 1388)).sum(0) // 3 % 2 * 7 + 4
    da = raster((2, 1100, 1388), dtype="uint8", high=200)
    if kind == "band":
        da[1] = classes
        da.attrs["band_classes"] = ("", "water snow")
    elif kind == "bool":
        da = da[0].copy(data=classes > 4)
    else:
        da = da[0].copy(data=classes.astype("uint8")).assign_attrs(flag_meanings="water snow")
    path = write(da, tmp_path / "a.tif", format="cog")
    for level in (0, 1):
        found = overview(path, level)
        assert set(np.unique(found[-1])) == ({0, 1} if kind == "bool" else {4, 11})
    if kind == "band":  # beside them numbers are averaged
        means = da[0].values.reshape(550, 2, 694, 2).mean((1, 3))
        np.testing.assert_allclose(overview(path)[0], means, atol=0.5)  # rounded


def test_overviews_average_visible_pixels_only(tmp_path: Path) -> None:
    da = raster((2, 1100, 1388), dtype="uint8").assign_attrs(color_interp=("gray", "alpha"))
    da[0], da[1] = 200, 255
    da[:, :, :501] = 0
    found = overview(write(da, tmp_path / "a.tif", format="cog"))
    assert set(np.unique(found[0][found[1] > 0])) == {200}


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_an_average_of_valid_pixels_is_never_nodata(dtype: str, tmp_path: Path) -> None:
    values = np.tile(np.array([[-1, 1], [1, -1]], dtype), (550, 694))
    da = raster((1100, 1388), dtype=dtype).copy(data=values).assign_attrs(_FillValue=np.dtype(dtype).type(0))
    assert not (overview(write(da, tmp_path / "a.tif", format="cog")) == 0).any()


def test_tags_that_a_cog_cannot_hold_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    da = raster((1, 20, 30)).assign_attrs(band_tag_namespaces='{"1": {"MINE": {"A": "1"}}}')
    write(da, tmp_path / "a.tif", format="cog")
    assert "no tags of MINE; write geotiff to keep them" in caplog.text


def test_nothing_stands_beside_a_cog_while_it_is_written(tmp_path: Path) -> None:
    largest: list[int] = []

    def watched(block: np.ndarray) -> np.ndarray:
        largest.append(sum(os.path.getsize(entry) for entry in tmp_path.iterdir()))
        assert len(list(tmp_path.iterdir())) <= 1
        return block

    da = raster((1, 1536, 1024), dtype="uint8").chunk(y=512, x=512)
    told = da.data.map_blocks(watched, dtype="uint8", meta=np.empty((0, 0, 0), "uint8"))
    path = write(da.copy(data=told), tmp_path / "a.tif", format="cog")
    assert len(largest) >= 6
    assert max(largest) < path.stat().st_size
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("lengths", [(5, 1), (1, 5), (4, 4), (0, 3), (7, 3), (3, 11)])
def test_neighbouring_parts_of_a_file_change_places(
    lengths: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cog_layout, "_PIECE", 2)
    one, other = (bytes(range(at, at + n)) for at, n in zip((10, 50), lengths, strict=True))
    path = tmp_path / "file"
    path.write_bytes(b"<<" + one + other + b">>")
    with path.open("r+b") as file:
        cog_layout._swap_neighbours(file, 2, 2 + len(one), 2 + len(one) + len(other))
    assert path.read_bytes() == b"<<" + other + one + b">>"


def test_layout_that_cannot_be_ordered_is_refused(tmp_path: Path) -> None:
    path = write(image("plain"), tmp_path / "a.tif")
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([2])  # whose directory GDAL puts behind the pixels
    with pytest.raises(WriteError, match=r"a directory behind its pixels; write it as geotiff"):
        cog_layout.order_blocks(path)


def test_a_cog_of_an_array_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken(block: np.ndarray) -> np.ndarray:
        raise ReadError("no such block; fetch it again")

    lazy = dask.array.zeros((1, 700, 600), chunks=(1, 512, 512), dtype="uint8")
    lazy = lazy.map_blocks(broken, dtype="uint8", meta=np.empty((0, 0, 0), "uint8"))
    with pytest.raises(ReadError, match="no such block"):
        write(raster((1, 700, 600), dtype="uint8").copy(data=lazy), tmp_path / "a.tif", format="cog")
    assert list(tmp_path.iterdir()) == []
