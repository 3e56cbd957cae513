"""Two images in one frame: one law, whatever words a CRS is stated in."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from helpers.builders import raster, scan
from pyproj import CRS

from sr_imaging import GridError, aligned_pair
from sr_imaging.image.grid.frames import check_same_frame, mean_on_grid


def placed(crs: str, style: str = "WKT2_2019", **attrs: Any) -> xr.DataArray:
    """A raster whose reference states a CRS as WKT of some style."""
    attrs = attrs or {"crs_wkt": CRS.from_user_input(crs).to_wkt(style)}
    return raster((6, 8)).assign_coords(spatial_ref=((), 0, attrs))


def in_cf(crs: str) -> xr.DataArray:
    """A raster whose reference states a CRS in the words of CF alone."""
    return placed(crs, **{k: v for k, v in CRS.from_user_input(crs).to_cf().items() if k != "crs_wkt"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (placed("EPSG:4326"), placed("OGC:CRS84")),  # longitude comes second in one and first in the other
        (placed("EPSG:4326", "WKT1_GDAL"), placed("OGC:CRS84", "WKT1_ESRI")),
        (placed("EPSG:32633"), placed("EPSG:32633", "WKT1_ESRI")),
        (placed("EPSG:3035"), placed("EPSG:3035", "WKT1_GDAL")),  # northing comes first, or is not ordered
        (placed("EPSG:2193"), placed("EPSG:2193", "WKT1_ESRI")),
        (placed("EPSG:32633"), in_cf("EPSG:32633")),
        (placed("", spatial_ref=CRS("EPSG:4326").to_wkt()), placed("OGC:CRS84")),
        (raster((6, 8)).drop_vars("spatial_ref"), raster((6, 8)).drop_vars("spatial_ref")),
    ],
)
def test_one_crs_in_other_words_is_one_frame(one: xr.DataArray, other: xr.DataArray) -> None:
    for pair in ((one, other), (other, one)):
        check_same_frame(*pair)
        assert aligned_pair(*pair).scale == (1, 1)


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        ("EPSG:4326", "EPSG:4258", "different CRS, WGS 84 and ETRS89; reproject one of them"),
        ("EPSG:32633", "EPSG:32632", "WGS 84 / UTM zone 33N and WGS 84 / UTM zone 32N"),
        ("EPSG:5513", "EPSG:5514", "Krovak"),  # southing and westing, easting and northing
    ],
)
def test_another_crs_is_another_frame(one: str, other: str, match: str) -> None:
    for pair in ((one, other), (other, one)):
        with pytest.raises(GridError, match=match if pair == (one, other) else "different CRS"):
            check_same_frame(*(placed(crs) for crs in pair))
    with pytest.raises(GridError, match="different CRS"):
        mean_on_grid(placed(one), placed(other))


def test_raster_without_crs_is_in_no_frame_of_another_unless_it_may_lack_it() -> None:
    one, other = placed("EPSG:4326"), raster((6, 8)).drop_vars("spatial_ref")
    check_same_frame(one, other, may_lack_crs=True)
    with pytest.raises(GridError, match="different CRS, WGS 84 and none"):
        check_same_frame(one, other)


def test_crs_that_nobody_understands_is_refused() -> None:
    with pytest.raises(GridError, match=r"is not understood: .*; write it anew with rio\.write_crs"):
        check_same_frame(placed("EPSG:4326"), placed("", crs_wkt="UTM 33"))
    halves = [placed("", grid_mapping_name="polar_stereographic") for _ in range(2)]
    check_same_frame(*halves)  # the same half, as far as anyone can tell
    with pytest.raises(GridError, match="different CRS, WGS 84 and none"):
        check_same_frame(placed("EPSG:4326"), halves[0])


def test_volumes_of_one_frame_of_reference_are_in_one_frame() -> None:
    one = scan((4, 5, 6))
    other = one.copy(data=np.zeros(one.shape))
    check_same_frame(one, other)
    for uid, same in ((None, True), ("9.9", False)):
        reference = one.volume_ref.copy()
        reference.attrs["frame_of_reference_uid"] = uid
        moved = other.assign_coords(volume_ref=reference)
        if same:
            check_same_frame(one, moved)
        else:
            with pytest.raises(GridError, match=r"different frames of reference, 1\.2\.3 and 9\.9; register"):
                check_same_frame(one, moved)
    with pytest.raises(GridError, match="only one of image and guide has a volume_ref"):
        check_same_frame(one, raster((6, 8)), "image and guide")
