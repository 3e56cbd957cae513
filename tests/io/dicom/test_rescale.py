"""How stored pixels become modality values: padding of some slices, scaling not to be trusted."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from helpers.dicom_series import build_series, real_pixels, set_pixels
from pydicom import Dataset, config, dcmread
from pydicom.data import get_testdata_file

from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.reading.series import read_series
from sr_imaging.io.dicom.writing.series import write_series
from sr_imaging.io.scan import Scan


def only(folder: Path) -> Scan:
    scans, _ = find_series(folder.iterdir())
    assert len(scans) == 1
    return scans[0]


def read_folder(folder: Path) -> xr.DataArray:
    return read_series(only(folder))


def padded(ds: Dataset, k: int, padding: int, *, bits: int = 16) -> None:
    """Let the first three rows of slice `k` be padding, without saying so."""
    pixels = real_pixels(5)[k]
    pixels[:3] = padding
    set_pixels(ds, pixels, bits=bits)


def lookup_table(ds: Dataset) -> None:
    """Replace the rescale pair by a table that triples stored values."""
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 16])
    item.add_new(0x00283006, "OW", (np.arange(4096) * 3).astype("<u2").tobytes())
    item.ModalityLUTType = "US"
    del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType
    ds.ModalityLUTSequence = [item]


@pytest.mark.parametrize("slope", [1, 0.5])
@pytest.mark.parametrize("silent", [0, 3])
def test_read_series_takes_padding_that_only_some_slices_state(
    tmp_path: Path, silent: int, slope: float
) -> None:
    def edit(ds: Dataset, k: int) -> None:
        padded(ds, k, -2000)
        ds.RescaleSlope = slope
        if k != silent:
            ds.add_new(0x00280120, "SS", -2000)

    build_series(tmp_path, edit=edit)
    da = read_folder(tmp_path)
    assert da.attrs["_FillValue"] == -2000 * slope - 1024
    np.testing.assert_array_equal(da.values == da.attrs["_FillValue"], np.indices(da.shape)[1] < 3)


@pytest.mark.parametrize("slope", [1, 0.5])
def test_read_series_brings_paddings_that_differ_to_one(tmp_path: Path, slope: float) -> None:
    def edit(ds: Dataset, k: int) -> None:
        padding = -2000 if k < 2 else -1500
        padded(ds, k, padding)
        ds.RescaleSlope = slope
        ds.add_new(0x00280120, "SS", padding)

    build_series(tmp_path, edit=edit)
    da = read_folder(tmp_path)
    np.testing.assert_array_equal(da.values == da.attrs["_FillValue"], np.indices(da.shape)[1] < 3)


def test_read_series_makes_padding_of_a_lookup_table_nan(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        padded(ds, k, 0, bits=12)
        lookup_table(ds)
        ds.add_new(0x00280120, "US", 0)

    build_series(tmp_path, edit=edit)
    da = read_folder(tmp_path)
    assert "_FillValue" not in da.attrs
    np.testing.assert_array_equal(np.isnan(da.values), np.indices(da.shape)[1] < 3)
    np.testing.assert_array_equal(da.values[:, 3:], real_pixels(5)[:, 3:] * 3.0)


def rescaled(folder: Path, slope: str, intercept: str, *, of: range = range(3)) -> None:
    """Build a series of three slices, some of them with these texts for slope and intercept."""

    def edit(ds: Dataset, k: int) -> None:
        if k in of:
            for tag, text in ((0x00281053, slope), (0x00281052, intercept)):
                ds.add_new(tag, "DS", None)
                ds[tag]._value = text or None

    with config.disable_value_validation():
        build_series(folder, 3, edit=edit)


@pytest.mark.parametrize(
    ("slope", "intercept", "why"),
    [
        ("1,5", "-1024", "RescaleSlope that is not one finite number"),
        ("NaN", "-1024", "RescaleSlope that is not one finite number"),
        ("1\\2", "-1024", "RescaleSlope that is not one finite number"),
        ("0", "-1024", "RescaleSlope of 0"),
        ("2", "abc", "RescaleIntercept that is not one finite number"),
        ("", "-1024", "no RescaleSlope beside RescaleIntercept"),
        ("2", "", "no RescaleIntercept beside RescaleSlope"),
    ],
)
def test_find_series_refuses_a_damaged_rescale_pair(
    tmp_path: Path, slope: str, intercept: str, why: str
) -> None:
    rescaled(tmp_path, slope, intercept, of=range(1, 2))
    scan = only(tmp_path)
    assert not scan.verdict.ok
    assert re.match(rf"1 of 3 slices have .*{why} \(IM0001\.dcm\); ", scan.verdict.reason)


def test_find_series_refuses_bits_that_cannot_be_decoded(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.BitsAllocated = 12

    build_series(tmp_path, 3, edit=edit)
    assert only(tmp_path).verdict.reason.startswith("3 of 3 slices have 12 bits allocated, not 8, 16 or 32")


def test_find_series_refuses_slices_of_which_only_some_are_rescaled(tmp_path: Path) -> None:
    rescaled(tmp_path, "", "", of=range(2))
    assert only(tmp_path).verdict.reason.startswith(
        "2 of 3 slices have no RescaleSlope and RescaleIntercept, which the others have (IM0000.dcm, IM0001"
    )


def test_read_series_gives_ct_without_rescaling_no_unit(tmp_path: Path) -> None:
    rescaled(tmp_path, "", "")
    scan = only(tmp_path)
    da = read_series(scan)
    assert scan.verdict.ok
    assert any("unknown unit" in note for note in scan.verdict.notes)
    assert "units" not in da.attrs
    np.testing.assert_array_equal(da.values, real_pixels(3))


def test_write_series_invents_no_unit_for_ct_without_rescaling(tmp_path: Path) -> None:
    rescaled(tmp_path / "in", "", "")
    scan = only(tmp_path / "in")
    write_series(read_series(scan), tmp_path / "out", scan)
    assert {dcmread(path).RescaleType for path in (tmp_path / "out").iterdir()} == {"US"}


@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small.dcm"])
def test_read_series_finds_the_encoding_of_a_file_without_meta_information(tmp_path: Path, name: str) -> None:
    path = Path(get_testdata_file(name, download=False))
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")  # preamble, mark, length and elements of group 2
    (tmp_path / "bare.dcm").write_bytes(whole[start:])
    np.testing.assert_array_equal(read_folder(tmp_path).values[0], dcmread(path).pixel_array)


@pytest.mark.parametrize(
    ("name", "values", "note"),
    [
        ("PhotometricInterpretation", ("MONOCHROME2", "MONOCHROME1"), "differ in PhotometricInterpretation;"),
        ("RescaleType", ("HU", "US"), "differ in RescaleType;"),
        ("ConvolutionKernel", ("B30f", "B60f"), "differ in ConvolutionKernel;"),
        ("SliceThickness", (2.5, 5), "slices are 2.5 to 5 mm thick"),
    ],
)
def test_find_series_notes_slices_that_differ(
    tmp_path: Path, name: str, values: tuple[object, object], note: str
) -> None:
    build_series(tmp_path, edit=lambda ds, k: setattr(ds, name, values[k // 3]))
    scan = only(tmp_path)
    assert scan.verdict.ok
    assert [text for text in scan.verdict.notes if note in text]
    assert read_series(scan).attrs.get("units") == (None if name == "RescaleType" else "HU")


def test_find_series_notes_nothing_of_an_even_series(tmp_path: Path) -> None:
    build_series(tmp_path)
    assert only(tmp_path).verdict.notes == ()
