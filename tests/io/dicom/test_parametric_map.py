"""Parametric Maps keep every digit of a volume of floats, in place, beside their source."""

import re
import shutil
import sys
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import xarray as xr
from helpers.derived_series import dciodvfy_errors, refined, scan_of
from helpers.dicom_series import AXIAL, OBLIQUE, affine_of, build_series, real_pixels
from pydicom import DataElement, Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, tag_for_keyword
from typer.testing import CliRunner

from sr_imaging import Scan, WriteError, read, write
from sr_imaging.cli.__main__ import app
from sr_imaging.image.grid.volumes import affine
from sr_imaging.image.grid.volumes import volume as grid_volume
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom
from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.writing import parametric_map as dicom_map

DATES = re.compile("Date$|Time$|DateTime$")


def floats(source: Scan, scale: int = 4) -> xr.DataArray:
    """The refined volume with digits that no integer holds, and an invalid voxel."""
    fine = refined(read(source), scale)
    values = fine.values.astype(np.float32) / np.float32(3)
    values[1, 2, 3] = np.nan
    return fine.copy(data=values)


def placed(path: Path, da: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Values and affine as highdicom reads them, slices in the order of the array."""
    volume = hd.imread(path).get_volume(dtype=np.float32)
    matrix, values = np.array(volume.affine), np.asarray(volume.array)
    if matrix[:3, 0] @ affine(da)[:3, 0] < 0:  # highdicom may count slices the other way
        matrix[:3, 3] = (matrix @ [len(values) - 1, 0, 0, 1])[:3]
        matrix[:3, 0] *= -1
        values = values[::-1]
    return values, matrix


@pytest.fixture
def made(tmp_path: Path) -> tuple[xr.DataArray, Scan, Path]:
    """A map of the refined volume of a CT of three slices."""
    build_series(tmp_path / "in", 3, orientation=OBLIQUE)
    source = scan_of(tmp_path / "in")
    da = floats(source)
    return da, source, write(da, tmp_path / "map.dcm", source=source, format="parametric-map")


def test_map_reads_back_exactly_and_in_place(made: tuple) -> None:
    da, _, path = made
    values, matrix = placed(path, da)
    np.testing.assert_array_equal(values, da.values)
    np.testing.assert_allclose(matrix, affine(da), atol=1e-6)


def test_map_keeps_patient_study_and_frame_of_reference(made: tuple) -> None:
    _, source, path = made
    old, new = dcmread(source.files[0]), dcmread(path)
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert new[name].value == old[name].value
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert new.SOPClassUID.name == "Parametric Map Storage"


def test_map_says_what_it_is(made: tuple) -> None:
    _, source, path = made
    ds = dcmread(path)
    groups = ds.SharedFunctionalGroupsSequence[0]
    mapping = groups.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeMeaning == "Hounsfield unit"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert groups.PixelMeasuresSequence[0].SliceThickness == 1.25
    assert ds.ContributingEquipmentSequence[-1].ManufacturerModelName == "sr_imaging"
    assert "model ct-through-x4" in ds.ContributingEquipmentSequence[-1].ContributionDescription
    referenced = {item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence}
    assert referenced == {dcmread(file).SOPInstanceUID for file in source.files}


def test_map_is_the_same_in_every_run_but_for_times(made: tuple, tmp_path: Path) -> None:
    da, source, path = made
    again = write(da, tmp_path / "again.dcm", source=source, format="parametric-map")
    one, two = dcmread(path), dcmread(again)
    for ds in (one, two):
        for tag in [element.tag for element in ds if DATES.search(element.keyword)]:
            del ds[tag]
        for item in ds.ContributingEquipmentSequence:
            item.pop("ContributionDateTime", None)
    assert one == two


def test_map_of_padded_integers_has_no_number_there(tmp_path: Path) -> None:
    build_series(tmp_path / "in", 3, edit=lambda ds, k: ds.add_new(0x00280120, "US", 0))
    source = scan_of(tmp_path / "in")
    da = read(source)
    da[1, 2, 3] = da.attrs["_FillValue"]
    values, _ = placed(write(da, tmp_path / "m.dcm", source=source, format="parametric-map"), da)
    np.testing.assert_array_equal(np.isnan(values), da.values == da.attrs["_FillValue"])


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_map_has_no_error_for_dciodvfy(tmp_path: Path, modality: str) -> None:
    build_series(tmp_path / "in", 3, modality=modality, orientation=AXIAL)
    source = scan_of(tmp_path / "in")
    path = write(floats(source), tmp_path / "map.dcm", source=source, format="parametric-map")
    assert dciodvfy_errors(path) - dciodvfy_errors(source.files[0]) == set()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
@pytest.mark.parametrize(
    "name",
    [
        "dcm_mr_pd_ge_axial_oblique",
        "dcm_ct_body_siemens_mct_jpeg2000",
        "dcm_mr_enhanced_multiframe/siemens_xa10_6_1.dcm",
    ],
)
def test_map_of_a_real_scan_lies_in_place(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "medical" / name
    source = find_series(path.iterdir() if path.is_dir() else [path])[0][0]
    da = refined(read(source)[:4], 2).astype(np.float32)
    made = write(da, tmp_path / "map.dcm", source=source, format="parametric-map")
    values, matrix = placed(made, da)
    np.testing.assert_array_equal(values, da.where(da != da.attrs.get("_FillValue")).values)
    np.testing.assert_allclose(matrix, affine(da), atol=1e-6)
    known = {error for file in source.files for error in dciodvfy_errors(file)}
    assert dciodvfy_errors(made) - known == set()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
def test_map_holds_pet_whose_slices_have_slopes_of_their_own(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.SOPClassUID, ds.Modality, ds.Units = "1.2.840.10008.5.1.4.1.1.128", "PT", "BQML"
        ds.RescaleSlope, ds.RescaleIntercept = 0.25 + 0.125 * k, 0

    build_series(tmp_path / "in", 3, edit=edit)
    source = scan_of(tmp_path / "in")
    da = refined(read(source), 2)
    path = write(da, tmp_path / "map.dcm", source=source, format="parametric-map")
    np.testing.assert_array_equal(placed(path, da)[0], da.values)
    assert dciodvfy_errors(path) == set()
    with pytest.raises(WriteError, match="CT and MR, not PT; write a parametric map"):
        write(da, tmp_path / "series", source=source)


def test_map_marks_lossy_sources(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", 9.5
        ds.LossyImageCompressionMethod = "ISO_15444_1"

    build_series(tmp_path / "in", 3, edit=edit)
    source = scan_of(tmp_path / "in")
    ds = dcmread(write(floats(source), tmp_path / "m.dcm", source=source, format="parametric-map"))
    assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio) == ("01", 9.5)


ODD = {
    "PatientName": "Secret one",
    "PatientBirthDate": "1944.05.06",
    "PatientSex": "WOMAN",
    "StudyDate": "yesterday",
    "StudyTime": "25:61",
    "SpecificCharacterSet": "",
}


@pytest.mark.parametrize("name", ODD)
def test_map_carries_odd_values_and_quotes_none(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def edit(ds: Dataset, k: int) -> None:
        with disable_value_validation():
            ds[name] = DataElement(tag_for_keyword(name), dictionary_VR(name), ODD[name])

    caplog.set_level("DEBUG")
    with quiet_pydicom():
        build_series(tmp_path / "in", 3, edit=edit)
    source = scan_of(tmp_path / "in")
    path = write(floats(source), tmp_path / "map.dcm", source=source, format="parametric-map")
    with quiet_pydicom():
        assert str(dcmread(path).get(name) or "") == ODD[name]
    said = caplog.text + "".join(capfd.readouterr())
    assert not ODD[name] or ODD[name] not in said


def test_map_of_a_source_with_a_damaged_window_has_one_over_its_values(tmp_path: Path) -> None:
    for path in build_series(tmp_path / "in", 3):
        old, new = b"\x28\0\x50\x10DS\x04\x0040.0", b"\x28\0\x50\x10DS\x04\0wide"
        assert path.read_bytes().count(old) == 1
        path.write_bytes(path.read_bytes().replace(old, new))
    source = scan_of(tmp_path / "in")
    da = floats(source)
    ds = dcmread(write(da, tmp_path / "map.dcm", source=source, format="parametric-map"))
    window = ds.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    low, high = float(np.nanmin(da)), float(np.nanmax(da))
    assert float(window.WindowCenter) == pytest.approx((low + high) / 2)
    assert float(window.WindowWidth) == pytest.approx(high - low)


def test_map_without_a_source_is_refused(tmp_path: Path) -> None:
    da = grid_volume(real_pixels(3), affine_of(OBLIQUE), reference={"modality": "CT"})
    with pytest.raises(WriteError, match="names the series that it was made from; pass source="):
        write(da, tmp_path / "map.dcm", format="parametric-map")


def test_map_without_highdicom_names_the_extra(
    made: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(WriteError, match=r"pip install 'sr-imaging\[parametric-map\]'"):
        write(made[0], tmp_path / "other.dcm", source=made[1], format="parametric-map")


def test_map_of_4_gib_is_refused(made: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_map, "LARGEST", 1000)
    with pytest.raises(WriteError, match="a parametric map holds 4 GiB, not"):
        write(made[0], tmp_path / "other.dcm", source=made[1], format="parametric-map")
    assert not (tmp_path / "other.dcm").exists()


def test_map_without_any_number_is_refused(made: tuple, tmp_path: Path) -> None:
    empty = made[0].copy(data=np.full(made[0].shape, np.nan, np.float32))
    with pytest.raises(WriteError, match="at least one valid voxel"):
        write(empty, tmp_path / "other.dcm", source=made[1], format="parametric-map")


def test_command_line_keeps_the_floats_of_a_map(tmp_path: Path) -> None:
    build_series(tmp_path / "in", 4, orientation=OBLIQUE)
    arguments = ["upscale", str(tmp_path / "in"), "-m", "cubic", "--scale", "z=3"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "m.dcm"), "--format", "parametric-map"])
    assert done.exit_code == 0, done.output
    values = hd.imread(tmp_path / "m.dcm").get_volume(dtype=np.float32).array
    assert values.shape == (12, 20, 28)
    assert not np.array_equal(values, np.rint(values))


def test_command_line_refuses_one_file_for_a_series(tmp_path: Path) -> None:
    build_series(tmp_path / "in", 3)
    arguments = ["upscale", str(tmp_path / "in"), "-m", "cubic", "--scale", "z=2"]
    done = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out.dcm")])
    assert done.exit_code == 2
    assert "give a folder, or --format parametric-map" in done.stderr
