"""Siemens mosaics are taken apart where their private header leaves no doubt, and refused elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from sr_imaging import ReadError, find_scans, read, write
from sr_imaging.image.grid.volumes import affine

FOLDER = "medical/dcm_mr_transfer_syntaxes_siemens"
COUNT = 35


def changed(source: Path, target: Path, edit) -> Path:
    ds = dcmread(source)
    edit(ds)
    ds.save_as(target)
    return target


def test_mosaic_tiles_become_slices(shared_data: Path) -> None:
    path = shared_data / FOLDER / "1.dcm"
    image = dcmread(path).pixel_array
    da = read(path)
    assert da.shape == (COUNT, 64, 64)
    np.testing.assert_array_equal(da.values[0], image[:64, :64])
    np.testing.assert_array_equal(da.values[8], image[64:128, 128:192])
    np.testing.assert_array_equal(da.values[34], image[320:384, 256:320])


def test_mosaic_slices_lie_where_the_protocol_of_the_scanner_says(shared_data: Path) -> None:
    path = shared_data / FOLDER / "1.dcm"
    text = dcmread(path)[0x0029, 0x1020].value.decode("latin-1")
    matrix = affine(read(path))
    for number in (0, 1, 34):
        stated = [0.0, 0.0, 0.0]
        for axis, name in enumerate(("dSag", "dCor", "dTra")):
            found = re.search(rf"asSlice\[{number}\]\.sPosition\.{name}\s*=\s*(\S+)", text)
            stated[axis] = float(found[1]) if found else 0.0
        centre = matrix @ (number, 32, 32, 1)  # Siemens' centre of 64 pixels is the corner of the 33rd one
        assert np.abs(centre[:3] - stated).max() < 0.01


def test_mosaics_of_every_transfer_syntax_read_alike(shared_data: Path) -> None:
    scans = find_scans(shared_data / FOLDER)
    arrays = [read(scan) for scan in scans]
    assert len(arrays) == 9
    for da in arrays[1:]:
        np.testing.assert_array_equal(da.values, arrays[0].values)
        np.testing.assert_array_equal(affine(da), affine(arrays[0]))


def test_mosaics_of_one_series_are_one_volume_each(shared_data: Path, tmp_path: Path) -> None:
    for time in (1, 2, 3):

        def edit(ds: Dataset, time: int = time) -> None:
            ds.AcquisitionNumber = ds.InstanceNumber = time
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{time}"

        changed(shared_data / FOLDER / "1.dcm", tmp_path / f"{time}.dcm", edit)
    scans = find_scans(tmp_path)
    assert [scan.shape for scan in scans] == [(COUNT, 64, 64)] * 3
    assert {scan.facts["split"] for scan in scans} == {f"AcquisitionNumber {k}" for k in (1, 2, 3)}


def without_csa(ds: Dataset) -> None:
    del ds[0x0029, 0x1010]


def cut_csa(ds: Dataset) -> None:
    ds[0x0029, 0x1010].value = ds[0x0029, 0x1010].value[:900]


def other_normal(ds: Dataset) -> None:
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0.9, -np.sqrt(1 - 0.81)]


def no_gap(ds: Dataset) -> None:
    del ds.SpacingBetweenSlices


def other_size(ds: Dataset) -> None:
    ds.Rows, ds.PixelData = 383, ds.PixelData[: 383 * 384 * 2]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (without_csa, "private header does not say how many slices"),
        (cut_csa, "private header does not say how many slices"),
        (other_normal, "off the normal of its rows"),
        (no_gap, "SpacingBetweenSlices"),
        (other_size, "do not divide"),
    ],
)
def test_doubtful_mosaic_is_refused(shared_data: Path, tmp_path: Path, edit, reason: str) -> None:
    path = changed(shared_data / FOLDER / "1.dcm", tmp_path / "m.dcm", edit)
    with pytest.raises(ReadError, match=rf"Siemens mosaic.*{reason}.*; convert it to single slices or NIfTI"):
        read(path)


def test_series_derived_from_a_mosaic_is_no_mosaic(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / FOLDER / "1.dcm"
    da = read(source)
    again = read(write(da, tmp_path / "out", source=source))
    np.testing.assert_array_equal(again.values, da.values)
    np.testing.assert_allclose(affine(again), affine(da), atol=1e-6)
    header = dcmread(next((tmp_path / "out").iterdir()))
    assert "MOSAIC" not in header.ImageType
    assert "ReferencedFrameNumber" not in header.SourceImageSequence[0]
