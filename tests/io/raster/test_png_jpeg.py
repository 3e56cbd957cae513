"""PNG and JPEG: colours, transparency, depth, damage, and where folders of them count as scans."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from sr_imaging import ReadError, find_scans, read
from sr_imaging.training.data.scan_list import find_training_scans

COLOURS = np.zeros((8, 10, 3), np.uint8)
COLOURS[..., 0] = 200
COLOURS[:4, :, 1] = 50
COLOURS[:, :5, 2] = 120
MANY = np.random.default_rng(0).integers(0, 255, (60, 70, 3), dtype=np.uint8)


def saved(path: Path, image: Any, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_colours_are_bands_as_stored(tmp_path: Path) -> None:
    da = read(saved(tmp_path / "a.png", Image.fromarray(COLOURS)))
    assert da.dims == ("band", "y", "x")
    assert da.dtype == np.uint8
    assert da.attrs["color_interp"] == ("red", "green", "blue")
    np.testing.assert_array_equal(da.transpose("y", "x", "band"), COLOURS)
    assert not {"y", "x", "mask"} & set(da.coords)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_is_one_band(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    da = read(saved(tmp_path / "a.png", image))
    assert da.shape == (1, 8, 10)
    if mode == "L":
        np.testing.assert_array_equal(da[0], np.asarray(image))


def test_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS).convert("P", palette=Image.Palette.ADAPTIVE)
    da = read(saved(tmp_path / "a.png", image))
    np.testing.assert_array_equal(da.transpose("y", "x", "band"), COLOURS)


def test_transparent_pixels_are_invalid(tmp_path: Path) -> None:
    alpha = np.full((8, 10), 255, np.uint8)
    alpha[2, 3], alpha[5, 6] = 0, 100
    path = saved(tmp_path / "a.png", Image.fromarray(np.dstack([COLOURS, alpha])))
    assert np.argwhere(~read(path).mask.values).tolist() == [[2, 3]]
    masked = read(path, masked=True)
    assert masked.shape == (3, 8, 10)
    assert np.argwhere(np.isnan(masked.values)).tolist() == [[band, 2, 3] for band in range(3)]


def test_transparent_colour_of_a_palette_is_invalid(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS).convert("P")
    path = saved(tmp_path / "a.png", image, transparency=int(np.asarray(image)[0, 0]))
    np.testing.assert_array_equal(read(path).mask.values, np.asarray(image) != np.asarray(image)[0, 0])


def test_inks_become_colours(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS).convert("CMYK")
    da = read(saved(tmp_path / "a.jpg", image, quality=100, subsampling=0))
    np.testing.assert_allclose(da.transpose("y", "x", "band"), COLOURS, atol=3)  # of the compression


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_sixteen_bits_of_a_coloured_png_are_kept(tmp_path: Path) -> None:
    values = (np.arange(3 * 8 * 10, dtype=np.uint16) * 271).reshape(3, 8, 10)
    with rasterio.open(
        tmp_path / "a.png", "w", driver="PNG", count=3, height=8, width=10, dtype="uint16"
    ) as file:
        file.write(values)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), values)


def test_world_file_places_an_image(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(COLOURS))
    (tmp_path / "a.pgw").write_text("2.0\n0.0\n0.0\n-3.0\n1000.0\n5000.0\n")
    da = read(path)
    np.testing.assert_allclose(da.x[:2], [1000, 1002])
    np.testing.assert_allclose(da.y[:2], [5000, 4997])


def test_scan_knows_the_image_before_it_is_read(tmp_path: Path) -> None:
    (scan,) = find_scans(saved(tmp_path / "a.jpg", Image.fromarray(COLOURS)), images=True)
    assert (scan.kind, scan.shape, scan.facts["driver"]) == ("image", (3, 8, 10), "JPEG")


@pytest.mark.parametrize("kept", [60, 4000])
def test_png_that_is_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(MANY))
    path.write_bytes(path.read_bytes()[:kept])
    (scan,) = find_scans(path, images=True)
    assert not scan.verdict.ok
    with pytest.raises(ReadError, match=f"cut short at byte {kept}"):
        read(path)


def test_jpeg_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(MANY))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ReadError, match=r"cannot read .*a\.jpg"):
        read(path)


def test_folder_of_images_holds_scans_only_where_images_are_asked_for(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg"):
        saved(tmp_path / name, Image.fromarray(COLOURS))
    with pytest.raises(ReadError, match="no readable scan"):
        find_scans(tmp_path)
    assert [scan.path.name for scan in find_scans(tmp_path, images=True)] == ["a.jpg", "b.png"]


def test_pictures_beside_scans_are_no_scans(tmp_path: Path) -> None:
    saved(tmp_path / "browse.png", Image.fromarray(COLOURS))
    profile = {"driver": "GTiff", "count": 1, "height": 8, "width": 10, "dtype": "uint8", "crs": "EPSG:32632"}
    transform = rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
    with rasterio.open(tmp_path / "a.tif", "w", transform=transform, **profile) as file:
        file.write(COLOURS[None, ..., 0])
    assert [scan.path.name for scan in find_training_scans([str(tmp_path)], tmp_path)] == ["a.tif"]
    named = find_training_scans(["*.png"], tmp_path)
    assert [scan.path.name for scan in named] == ["browse.png"]
