"""Modality values stored in sixteen bits and back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom_series import build_series
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.reading.headers import read_frames
from sr_imaging.io.dicom.writing.encoding import Encoding, choose_encoding, ds_text, encode


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Frame:
    """A source slice of unsigned 12 bits with slope 1 and intercept -1024."""
    path: Path = build_series(tmp_path_factory.mktemp("series"), 1)[0]
    return read_frames(path)[0]


def stored(values: np.ndarray, fill: float | None, sources: list[Frame]) -> tuple[Encoding, np.ndarray]:
    encoding = choose_encoding(values, fill, sources)
    planes = np.stack([encode(plane, encoding, fill) for plane in values])
    return encoding, planes * encoding.slope + encoding.intercept


def test_encoding_keeps_the_source_pair_and_bits(frame: Frame) -> None:
    values = np.arange(-1024, 3072, dtype=np.int16).reshape(2, 32, 64)
    encoding, back = stored(values, None, [frame])
    assert encoding == Encoding(1.0, -1024.0, 12, False)
    np.testing.assert_array_equal(back, values)


def test_encoding_takes_more_bits_for_higher_values(frame: Frame) -> None:
    values = np.array([[[-1024, 4000]]], np.int16)
    encoding, back = stored(values, None, [frame])
    assert (encoding.bits, encoding.intercept) == (16, -1024)
    np.testing.assert_array_equal(back, values)


def test_encoding_clips_a_little_overshoot_below(frame: Frame) -> None:
    encoding, back = stored(np.array([[[-1100, 0]]], np.int16), None, [frame])
    assert encoding.intercept == -1024
    np.testing.assert_array_equal(back, [[[-1024, 0]]])


def test_encoding_moves_the_intercept_for_values_far_below(frame: Frame) -> None:
    values = np.array([[[-9000, 0, 1000]]], np.int16)
    encoding, back = stored(values, None, [frame])
    assert not encoding.signed
    np.testing.assert_array_equal(back, values)


def test_encoding_rounds_floats_of_a_whole_source(frame: Frame) -> None:
    encoding, back = stored(np.array([[[-1000.4, 12.6, 5.5]]], np.float32), None, [frame])
    assert encoding.slope == 1
    np.testing.assert_array_equal(back, [[[-1000, 13, 6]]])


def test_encoding_refines_a_fractional_step(frame: Frame) -> None:
    source = replace(frame, rescale=(2.36, 0.0))
    values = (np.arange(4096).reshape(1, 64, 64) * 2.36).astype(np.float32)
    encoding, back = stored(values, None, [source])
    assert encoding.slope == pytest.approx(2.36 / 16, rel=1e-12)
    np.testing.assert_allclose(back, values, rtol=1e-6)  # every source value is a stored one, to float32


def test_encoding_covers_slopes_that_differ_by_slice(frame: Frame) -> None:
    sources = [replace(frame, rescale=(slope, 0.0)) for slope in (0.025, 0.04)]
    values = np.linspace(0, 160, 200, dtype=np.float32).reshape(2, 10, 10)
    encoding, back = stored(values, None, sources)
    assert encoding.intercept == 0
    assert encoding.slope < 0.025
    np.testing.assert_allclose(back, values, atol=encoding.slope * 0.51)


def test_encoding_keeps_padding_exactly_and_valid_values_off_it(frame: Frame) -> None:
    source = replace(frame, signed=True, bits=(16, 16, 15), rescale=(1.0, 0.0), padding_value=-1500)
    values = np.array([[[-1500, -1499.6, -1500.3, 7]]], np.float32)
    encoding, back = stored(values, -1500, [source])
    assert encoding.padding == -1500
    np.testing.assert_array_equal(back, [[[-1500, -1499, -1499, 7]]])


@pytest.mark.parametrize("signed", [True, False])
def test_encoding_stores_nan_as_padding(frame: Frame, signed: bool) -> None:
    source = replace(frame, signed=signed, rescale=(0.5, 0.0))
    values = np.array([[[np.nan, 0, 100.5]]], np.float32)
    encoding = choose_encoding(values, None, [source])
    plane = encode(values[0], encoding, None)
    assert plane[0, 0] == encoding.padding
    assert (plane[0, 1:] != encoding.padding).all()


def test_encoding_of_all_invalid_values_works(frame: Frame) -> None:
    values = np.full((1, 2, 3), np.nan, np.float32)
    encoding = choose_encoding(values, None, [frame])
    assert (encode(values[0], encoding, None) == encoding.padding).all()


@settings(deadline=None, max_examples=60)
@given(
    values=arrays(np.float32, (2, 3, 4), elements=st.floats(-1e6, 1e6, width=32)),
    slope=st.floats(1e-4, 10),
)
def test_encoding_loses_at_most_half_a_step(values: np.ndarray, slope: float) -> None:
    path = Path("unused")
    source = _frame(path, slope)
    encoding, back = stored(values, None, [source])
    slack = 4096 / 8 * slope  # overshoot that is clipped
    assert (np.abs(back - values) <= np.maximum(0.501 * encoding.slope + 1e-6 * np.abs(values), 0)).all() or (
        values.min() < encoding.intercept and values.min() >= encoding.intercept - slack
    )


def test_encoding_warns_where_values_are_clipped(caplog: pytest.LogCaptureFixture) -> None:
    values = np.array([[[-2000, 5, 900]]], np.int16)
    choose_encoding(values, None, [replace(_frame(Path("unused"), 1.0, -1024.0), bits=(16, 16, 15))])
    assert "values of -2000 to 900 are clipped to -1024 to 64511" in caplog.text


def test_encoding_warns_where_steps_grow(caplog: pytest.LogCaptureFixture) -> None:
    values = np.array([[[0, 7, 829003]]], np.int32)
    choose_encoding(values, None, [_frame(Path("unused"), 1.0)])
    assert "values of 0 to 829003 are stored in steps of 13, and not of 1 as in the source" in caplog.text


def test_encoding_says_nothing_where_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    choose_encoding(np.array([[[-1024, 7, 3000]]], np.int16), None, [_frame(Path("unused"), 1.0, -1024.0)])
    choose_encoding(np.array([[[0.0, 0.3, 900]]], np.float32), None, [_frame(Path("unused"), 0.37)])
    assert caplog.text == ""


@given(st.floats(-1e9, 1e9))
def test_ds_text_fits_sixteen_characters(value: float) -> None:
    text = ds_text(value)
    assert len(str(text)) <= 16
    assert float(str(text)) == pytest.approx(value, rel=1e-8, abs=1e-300)


def _frame(path: Path, slope: float, intercept: float = 0.0) -> Frame:
    """A source slice of unsigned 12 bits with a slope."""
    fields = dict.fromkeys(Frame.__dataclass_fields__, "")
    fields |= {
        "path": path,
        "rescale": (slope, intercept),
        "has_lut": False,
        "bits": (16, 12, 11),
        "signed": False,
    }
    return Frame(**fields)
