"""Stored values become physical floats and come back: nodata exact, never by accident, nothing wraps."""

import logging
import re
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_imaging import InputTypeError
from sr_imaging.image.pixels.fill import fill_nearest
from sr_imaging.image.pixels.values import values_of
from sr_imaging.image.stored_numbers import is_flag

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64"]


def array(values: Any, dtype: Any, **attrs: Any) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, dtype), dims="x", attrs=attrs)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_come_back_exactly(dtype: str) -> None:
    info = np.iinfo(dtype)
    most = min(int(info.max), 2**53)  # what a float64 holds exactly
    stored = np.array([max(int(info.min), -most), 0, 1, 77, most], dtype)
    values = values_of(array(stored, dtype))
    np.testing.assert_array_equal(values.encode(values.decode(stored)), stored)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_round_and_clip_to_their_type(dtype: str) -> None:
    info = np.iinfo(dtype)
    values = values_of(array([0], dtype))
    made = values.encode(np.array([-1e30, 4.4, 4.6, 1e30], values.work_dtype))
    assert made.dtype == dtype
    assert made[0] == info.min
    assert made[1:3].tolist() == [4, 5]
    assert info.max - 2048 <= int(made[3]) <= info.max  # the last float64 below 2**64


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("which", ["min", "max", "middle"])
def test_integer_nodata_is_exact_and_never_made(dtype: str, which: str) -> None:
    info = np.iinfo(dtype)
    nodata = {"min": int(info.min), "max": int(info.max), "middle": 5}[which]
    values = values_of(array([3], dtype, _FillValue=np.dtype(dtype).type(nodata)))
    stored = np.array([3, nodata, 9], dtype)
    decoded = values.decode(stored)
    assert np.isnan(decoded).tolist() == [False, True, False]
    assert values.encode(decoded).tolist() == [3, nodata, 9]
    around = np.array([float(nodata), float(nodata) + 0.3, -1e30, 1e30], values.work_dtype)
    assert nodata not in values.encode(around).tolist()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("nodata", [-9999.0, 0.0, 1.0, np.nan])
def test_float_nodata_is_exact_and_never_made(dtype: str, nodata: float) -> None:
    nodata = float(np.dtype(dtype).type(nodata))
    values = values_of(array([3], dtype, _FillValue=nodata))
    stored = np.array([3, nodata, 9], dtype)
    decoded = values.decode(stored)
    assert np.isnan(decoded).tolist() == [False, True, False]
    np.testing.assert_array_equal(values.encode(decoded), stored)
    if np.isfinite(nodata):
        made = values.encode(np.array([nodata], values.work_dtype))
        assert made[0] != nodata
        assert made[0] == pytest.approx(nodata, rel=2e-3, abs=1e-6)


def test_lowest_float32_as_nodata_is_invalid() -> None:
    lowest = float(np.finfo(np.float32).min)
    values = values_of(array([3], "float32", _FillValue=lowest))
    assert np.isnan(values.decode(np.array([1, lowest], np.float32))).tolist() == [False, True]


def test_float16_clips_to_its_largest_number() -> None:
    values = values_of(array([3], "float16"))
    made = values.encode(np.array([7e4, -7e4, 1.5, np.inf], np.float32))
    np.testing.assert_array_equal(made, np.array([65504, -65504, 1.5, np.inf], np.float16))


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "nodata"])
def test_nodata_is_found_under_its_usual_names(key: str) -> None:
    assert values_of(array([3], "int16", **{key: -99})).nodata == -99


def test_nodata_outside_the_type_is_no_value_of_it() -> None:
    values = values_of(array([3, 255], "uint8", _FillValue=-9999))
    np.testing.assert_array_equal(values.decode(np.array([3, 255], np.uint8)), [3, 255])


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32"]),
    factor=st.sampled_from([1e-4, -1e-4, 0.5, -2.0, 3.3]),
    offset=st.sampled_from([0.0, -100.0, 273.15, 1e5]),
    seed=st.integers(0, 99),
)
def test_packed_integers_come_back_exactly(dtype: str, factor: float, offset: float, seed: int) -> None:
    info = np.iinfo(dtype)
    stored = np.random.default_rng(seed).integers(info.min, info.max, 50, dtype=dtype, endpoint=True)
    values = values_of(array(stored, dtype, scale_factor=factor, add_offset=offset, _FillValue=7))
    decoded = values.decode(stored)
    valid = stored != 7
    physical = stored[valid].astype(float) * factor + offset
    np.testing.assert_allclose(decoded[valid], physical, rtol=1e-6, atol=1e-6 * abs(offset) + 1e-9)
    np.testing.assert_array_equal(values.encode(decoded), stored)


def test_packed_integers_avoid_nodata_and_clip() -> None:
    values = values_of(array([3], "uint8", scale_factor=-0.5, add_offset=10.0, _FillValue=0))
    made = values.encode(np.array([10.0, 10.2, 1e9, -1e9, np.nan], values.work_dtype))
    assert made.tolist() == [1, 1, 1, 255, 0]


def test_packing_that_differs_by_band_works_in_stored_numbers() -> None:
    values = values_of(array([3, 4], "int16", scale_factor=(0.1, 0.2), add_offset=(0, 1)))
    np.testing.assert_array_equal(values.decode(np.array([3, 4], np.int16)), [3, 4])


def decoded(dtype: Any, **encoding: Any) -> xr.DataArray:
    da = array([0.0], np.float32)
    da.encoding = {"dtype": np.dtype(dtype), **encoding}
    return da


@pytest.mark.parametrize(
    ("encoding", "low", "high"),
    [
        ({"scale_factor": 1e-4}, 0, 6.5535),
        ({"scale_factor": 1e-4, "add_offset": -0.1}, -0.1, 6.4535),
        ({"scale_factor": -1e-4}, -6.5535, 0),
        ({"scale_factor": 1e-4, "_FillValue": 0}, 1e-4, 6.5535),
        ({"scale_factor": 1e-4, "_FillValue": 65535}, 0, 6.5534),
        ({"add_offset": 5.0}, 5, 65540),
        ({"_FillValue": 65535}, 0, 65534),
    ],
)
def test_decoded_values_clip_to_the_range_of_their_packing(
    encoding: dict[str, float], low: float, high: float
) -> None:
    values = values_of(decoded(np.uint16, **encoding))
    made = values.encode(np.array([-1e9, 2.0, 1e9, np.nan], np.float32))
    np.testing.assert_allclose(made, [low, np.clip(2.0, low, high), high, np.nan], rtol=1e-6, atol=1e-9)


def test_decoded_values_avoid_the_nodata_of_their_packing() -> None:
    values = values_of(decoded(np.int16, scale_factor=0.01, _FillValue=-50))
    made = values.encode(np.array([-0.5, -0.502, -0.497, -0.52, 0.5], np.float32))
    packed = np.rint(made / 0.01)
    assert -50 not in packed.tolist()
    np.testing.assert_allclose(made, [-0.5, -0.502, -0.497, -0.52, 0.5], atol=0.011)
    np.testing.assert_allclose(made[3:], [-0.52, 0.5], atol=1e-6)


def test_clipped_values_are_counted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    values = values_of(decoded(np.uint16, scale_factor=1e-4))
    with caplog.at_level(logging.INFO, logger="sr_imaging"):
        values.encode(np.array([7.0, 8.0, 1.0, np.nan], np.float32))
    assert "clipped 2 values to the packed range 0 to 6.5535" in caplog.text


def test_float_encoding_clips_nothing() -> None:
    values = values_of(decoded(np.float32, scale_factor=2.0))
    np.testing.assert_array_equal(values.encode(np.array([-1e9, 1e9], np.float32)), [-1e9, 1e9])


def test_asked_float_type_keeps_floats() -> None:
    values = values_of(array([3], "uint8"), np.float32)
    np.testing.assert_array_equal(values.encode(np.array([-0.5, 300.25], np.float32)), [-0.5, 300.25])


def test_invalid_pixels_of_an_integer_result_need_a_nodata_value() -> None:
    values = values_of(array([3], "float32"), np.uint8)
    np.testing.assert_array_equal(values.encode(np.array([3.4], np.float32)), [3])
    with pytest.raises(InputTypeError, match="1 pixels are invalid and uint8 has no nodata value; set"):
        values.encode(np.array([3.4, np.nan], np.float32))


@pytest.mark.parametrize(
    "values",
    [
        np.array([1j]),
        np.array(["a"]),
        np.array([object()]),
        np.array(["2020-01-01"], "datetime64[ns]"),
        np.array([5], "timedelta64[ns]"),
    ],
)
def test_values_that_are_no_real_numbers_are_refused(values: np.ndarray) -> None:
    with pytest.raises(InputTypeError, match=re.escape(f"values of dtype {values.dtype}".split("[")[0])):
        values_of(xr.DataArray(values, dims="x"))


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[ns]", "U3", "bool"])
def test_result_type_that_is_no_number_is_refused(dtype: str) -> None:
    with pytest.raises(InputTypeError, match=r"the result cannot have dtype .*; ask for an integer or float"):
        values_of(array([3.0], "float32"), dtype)


@pytest.mark.parametrize(
    ("dtype", "attrs", "expected"),
    [
        ("bool", {}, True),
        ("uint8", {}, False),
        ("uint8", {"flag_values": [0, 1]}, True),
        ("int16", {"flag_masks": [1, 2]}, True),
        ("float32", {"flag_meanings": "land sea"}, True),  # classes with NaN, as they decode
        ("uint8", {"colour_table": "..."}, True),
        ("float32", {"units": "1"}, False),
    ],
)
def test_flags_are_known(dtype: str, attrs: dict[str, Any], expected: bool) -> None:
    assert is_flag(array([0, 1], dtype, **attrs)) is expected


def test_fill_takes_the_nearest_valid_pixel() -> None:
    image = np.arange(49.0).reshape(7, 7)
    invalid = np.zeros((7, 7), bool)
    invalid[0, :3] = True
    filled = fill_nearest(image, invalid)
    np.testing.assert_array_equal(filled[~invalid], image[~invalid])
    assert filled[0, 2] in (image[0, 3], image[1, 1], image[1, 2], image[1, 3])
    assert filled[0, 0] in (image[1, 0], image[1, 1])


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.05, 0.97),
    st.tuples(*[st.integers(3, 16)] * 2) | st.tuples(*[st.integers(2, 6)] * 3),
)
def test_fill_depends_on_no_pixel_beyond_its_distance(seed: int, share: float, shape: Any) -> None:
    rng = np.random.default_rng(seed)
    image = np.arange(np.prod(shape), dtype=float).reshape(shape)
    invalid = rng.random(shape) < share
    if invalid.all():
        return
    whole = fill_nearest(image, invalid)
    distance = np.stack(
        [np.abs(np.stack(np.unravel_index(whole.astype(int), shape)) - np.indices(shape))]
    ).max((0, 1))
    for place in rng.integers(0, shape, (4, len(shape))):
        reach = int(distance[tuple(place)]) + int(rng.integers(0, 3))
        window = tuple(slice(max(p - reach, 0), p + reach + 1) for p in place)
        local = tuple(p - w.start for p, w in zip(place, window, strict=True))
        assert fill_nearest(image[window], invalid[window])[local] == whole[tuple(place)]


def test_fill_of_nothing_valid_is_zero() -> None:
    assert not fill_nearest(np.full((2, 3), np.nan), np.ones((2, 3), bool)).any()
