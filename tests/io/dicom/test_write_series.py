"""Derived series: the tag table, the geometry that others read, identifiers and dciodvfy."""

import re
import shutil
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
import xarray as xr
from helpers.derived_series import FACTS, dciodvfy_errors, derive, refined, scan_of
from helpers.dicom_series import (
    AXIAL,
    OBLIQUE,
    PIXEL,
    SHAPE,
    affine_of,
    build_series,
    real_pixels,
    set_pixels,
)
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from sr_imaging import WriteError, read, upscale, write
from sr_imaging.image.grid.volumes import affine, volume
from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.reading.series import read_series
from sr_imaging.io.dicom.writing.series import write_series
from sr_imaging.io.scan import Scan

DATES = re.compile("Date$|Time$")


@pytest.fixture
def built(tmp_path: Path) -> tuple[xr.DataArray, Scan, list[Dataset]]:
    """A CT of five slices of 5 mm every 6 mm, derived with four slices for each."""
    build_series(tmp_path / "in", orientation=OBLIQUE)
    return derive(tmp_path)


def test_write_series_reads_back_equal(built: tuple, tmp_path: Path) -> None:
    fine, _, _ = built
    back = read_series(scan_of(tmp_path / "out"))
    np.testing.assert_array_equal(back.values, fine.values)
    np.testing.assert_allclose(affine(back), affine(fine), atol=1e-6)
    assert (back.dtype, back.attrs["units"]) == (fine.dtype, "HU")


def test_write_series_names_files_by_number(built: tuple, tmp_path: Path) -> None:
    assert [path.name for path in sorted((tmp_path / "out").iterdir())][:2] == ["IM_0001.dcm", "IM_0002.dcm"]
    assert len(built[2]) == 20


def test_write_series_keeps_class_and_writes_explicit_little_endian(built: tuple) -> None:
    for ds in built[2]:
        assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID
        assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_write_series_moves_the_first_slice_half_a_step_outwards(tmp_path: Path) -> None:
    build_series(tmp_path / "in", orientation=AXIAL, steps=5.0 * np.arange(5))
    _, source, out = derive(tmp_path)
    first = dcmread(source.files[0]).ImagePositionPatient
    assert out[0].ImagePositionPatient[2] - first[2] == pytest.approx(-1.875, abs=1e-9)
    old = np.mean([dcmread(path).ImagePositionPatient for path in source.files], axis=0)
    new = np.mean([ds.ImagePositionPatient for ds in out], axis=0)
    np.testing.assert_allclose(new, old, atol=1e-9)


def test_write_series_states_the_new_grid(built: tuple) -> None:
    _, source, out = built
    first = dcmread(source.files[0])
    for ds in out:
        assert ds.ImageOrientationPatient == first.ImageOrientationPatient
        assert ds.PixelSpacing == list(PIXEL)
        assert ds.SpacingBetweenSlices == pytest.approx(1.5, abs=1e-9)
        assert ds.SliceThickness == 1.25
        assert (ds.Rows, ds.Columns) == SHAPE
    assert [ds.InstanceNumber for ds in out] == list(range(1, 21))
    assert np.diff([float(ds.SliceLocation) for ds in out]) == pytest.approx(1.5)


def test_write_series_makes_new_identifiers_in_the_same_study(built: tuple) -> None:
    _, source, out = built
    old = [dcmread(path) for path in source.files]
    assert {ds.StudyInstanceUID for ds in out} == {old[0].StudyInstanceUID}
    assert {ds.FrameOfReferenceUID for ds in out} == {old[0].FrameOfReferenceUID}
    assert len({ds.SeriesInstanceUID for ds in out} | {old[0].SeriesInstanceUID}) == 2
    assert len({ds.SOPInstanceUID for ds in out + old}) == len(out) + len(old)
    assert out[0].SeriesNumber != old[0].SeriesNumber
    assert out[0].SeriesDescription == "thick SR 4 1 1"


def test_write_series_carries_patient_study_and_acquisition(built: tuple) -> None:
    for name in (
        "PatientName",
        "PatientID",
        "AccessionNumber",
        "StudyDate",
        "AcquisitionDate",
        "AcquisitionTime",
    ):
        assert built[2][3][name].value == dcmread(built[1].files[0])[name].value


def test_write_series_says_how_it_was_derived(built: tuple) -> None:
    ds = built[2][0]
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert re.search(
        r"model ct-through-x4.*scale 4 1 1.*acquired slice thickness 5 mm", ds.DerivationDescription
    )
    assert ds.DerivationCodeSequence[0].CodeValue == "113085"
    own = ds.ContributingEquipmentSequence[-1]
    assert own.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert own.ManufacturerModelName == "sr_imaging"
    assert own.SoftwareVersions == "0.1.0"
    assert FACTS["sr_model_sha256"] in own.ContributionDescription
    assert len(own.ContributionDateTime) == 14


def test_write_series_names_one_equipment_a_slice(built: tuple) -> None:
    assert {len(ds.ContributingEquipmentSequence) for ds in built[2]} == {1}


def test_write_series_references_all_slices_within_the_halo(tmp_path: Path) -> None:
    build_series(tmp_path / "in", orientation=OBLIQUE)
    source = scan_of(tmp_path / "in")
    write_series(refined(read_series(source)).assign_attrs(sr_halo="2 3 3"), tmp_path / "out", source)
    uids = [dcmread(path).SOPInstanceUID for path in source.files]
    for number in (1, 7, 10, 20):
        own = (number - 1) // 4  # the source slice that it is a quarter of
        ds = dcmread(tmp_path / f"out/IM_{number:04d}.dcm")
        named = [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence]
        assert named == uids[max(0, own - 2) : own + 3]


def test_write_series_references_its_own_slice_alone_where_a_model_works_in_plane(tmp_path: Path) -> None:
    build_series(tmp_path / "in", orientation=OBLIQUE)
    source = scan_of(tmp_path / "in")
    fine = upscale(read_series(source), "cubic", scale={"y": 2, "x": 3})
    write_series(fine, tmp_path / "out", source)
    for number, path in enumerate(source.files, 1):
        (item,) = dcmread(tmp_path / f"out/IM_{number:04d}.dcm").SourceImageSequence
        assert item.ReferencedSOPInstanceUID == dcmread(path).SOPInstanceUID


def test_write_series_references_the_slices_within_one_spacing(built: tuple) -> None:
    _, source, out = built
    uids = [dcmread(path).SOPInstanceUID for path in source.files]
    for k, ds in enumerate(out):
        place = (k + 0.5) / 4 - 0.5  # in source slices
        near = [uid for n, uid in enumerate(uids) if abs(n - place) <= 1]
        assert [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence] == near
        assert {item.ReferencedSOPClassUID for item in ds.SourceImageSequence} == {CTImageStorage}
        purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in ds.SourceImageSequence]
        assert set(purposes) == {"121322"}


@pytest.mark.parametrize("form", ["dicom", "parametric-map"])
@pytest.mark.parametrize("letters", ["latin-1", "utf-8"])
@pytest.mark.parametrize("is_deidentified", [False, True])
def test_write_keeps_texts_that_their_character_set_cannot_decode(
    tmp_path: Path, form: str, letters: str, is_deidentified: bool
) -> None:
    """Files say UTF-8 and hold Latin-1 where an archive changed the one and not the other."""

    def edit(ds: Dataset, k: int) -> None:
        ds.SpecificCharacterSet, ds.StudyDescription = "ISO_IR 192", "described"

    name = "Müller^Jörg".encode(letters)
    name += b" " * (len(name) % 2)
    for path in build_series(tmp_path / "in", 3, edit=edit):
        data = path.read_bytes()
        for vr, old in ((b"PN", b"Secret^Name "), (b"LO", b"described ")):
            found = vr + len(old).to_bytes(2, "little") + old
            assert data.count(found) == 1
            data = data.replace(found, vr + len(name).to_bytes(2, "little") + name)
        path.write_bytes(data)
    source = scan_of(tmp_path / "in")
    da = refined(read_series(source))
    out = write(da, tmp_path / "out", source=source, format=form, deidentify=is_deidentified)
    whole = next(out.iterdir()).read_bytes() if out.is_dir() else out.read_bytes()
    assert whole.count(name) == (0 if is_deidentified else 2)


@pytest.mark.parametrize(
    ("stated", "written"),
    [(b"A12 ", 1000), (b"2147483647", 2**31 - 1), (b"-2000 ", 1), (b"3\\4 ", 1000), (b"", 1000)],
)
def test_write_series_gives_an_odd_series_number_a_good_one(
    tmp_path: Path, stated: bytes, written: int
) -> None:
    for path in build_series(tmp_path / "in", 3):
        old = b"\x20\0\x11\0IS\x02\x007 "
        data = path.read_bytes()
        assert data.count(old) == 1
        path.write_bytes(data.replace(old, old[:6] + len(stated).to_bytes(2, "little") + stated))
    _, _, slices = derive(tmp_path)
    assert {ds.SeriesNumber for ds in slices} == {written}


def test_write_series_gives_the_same_bytes_again_but_for_dates(built: tuple, tmp_path: Path) -> None:
    fine, source, out = built
    write_series(fine, tmp_path / "again", source)
    for ds, path in zip(out, sorted((tmp_path / "again").iterdir()), strict=True):
        other = dcmread(path)
        for each in (ds, other):
            for tag in [element.tag for element in each if DATES.search(element.keyword)]:
                del each[tag]
            del each.ContributingEquipmentSequence[-1].ContributionDateTime
        assert ds == other
        assert ds.file_meta == other.file_meta


@pytest.mark.parametrize(
    "change",
    [{"sr_model_sha256": "ff"}, {"sr_precision": "bf16"}, {"sr_device": "cuda"}, {"sr_scale": "4 2 2"}],
)
def test_write_series_identifies_other_derivations_otherwise(
    built: tuple, tmp_path: Path, change: dict
) -> None:
    fine, source, out = built
    write_series(fine.assign_attrs(change), tmp_path / "other", source)
    assert dcmread(tmp_path / "other/IM_0001.dcm").SOPInstanceUID != out[0].SOPInstanceUID


def test_write_series_identifies_other_pixels_otherwise(built: tuple, tmp_path: Path) -> None:
    fine, source, out = built
    write_series(fine.copy(data=fine.values + 1), tmp_path / "other", source)
    assert dcmread(tmp_path / "other/IM_0001.dcm").SOPInstanceUID != out[0].SOPInstanceUID


def test_write_series_says_resampled_without_a_model(built: tuple, tmp_path: Path) -> None:
    fine, source, _ = built
    write_series(fine.drop_attrs(deep=False), tmp_path / "plain", source)
    assert dcmread(tmp_path / "plain/IM_0001.dcm").DerivationDescription.startswith("resampled")


def test_write_series_drops_what_is_no_longer_true(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.SmallestImagePixelValue, ds.LargestImagePixelValue = 0, 4000
        ds.ReconstructionDiameter, ds.PixelAspectRatio = 300, [1, 1]
        ds.ImagePosition, ds.ImageOrientation, ds.Location = [0, 0, k], [1, 0, 0, 0, 1, 0], k
        ds.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", "Secret^Name")
        ds.add_new(0x60000010, "US", 8)
        ds.add_new(0x60003000, "OW", b"\1\0" * 40)
        icon = Dataset()
        icon.Rows = 4
        ds.IconImageSequence = [icon]
        item = Dataset()
        item.ReferencedSOPInstanceUID = "1.2.3"
        ds.SourceImageSequence = [item]

    build_series(tmp_path / "in", edit=edit)
    for ds in derive(tmp_path)[2]:
        for name in (
            *("SmallestImagePixelValue", "LargestImagePixelValue", "ReconstructionDiameter"),
            *("PixelAspectRatio", "IconImageSequence", "ImagePosition", "ImageOrientation", "Location"),
        ):
            assert name not in ds
        assert not any(tag.is_private or tag.group == 0x6000 for tag in ds.keys())  # noqa: SIM118
        assert "1.2.3" not in [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence]


def test_write_series_carries_window_lossy_and_annotation(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.BurnedInAnnotation, ds.PatientIdentityRemoved = "NO", "YES"
        if k == 0:
            ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", 9.5
            ds.LossyImageCompressionMethod = "ISO_15444_1"

    build_series(tmp_path / "in", edit=edit)
    for ds in derive(tmp_path)[2]:
        assert (ds.WindowCenter, ds.WindowWidth) == (40, 400)
        assert (ds.BurnedInAnnotation, ds.PatientIdentityRemoved) == ("NO", "YES")
        assert (ds.LossyImageCompression, ds.LossyImageCompressionRatio) == ("01", 9.5)
        assert ds.LossyImageCompressionMethod == "ISO_15444_1"


def test_write_series_marks_sources_of_a_lossy_syntax(shared_data: Path, tmp_path: Path) -> None:
    scan = find_series([shared_data / "odd/dicom_nema_wg04/JLSN/CT2_JLSN"])[0][0]
    write_series(read_series(scan), tmp_path / "out", scan)
    ds = dcmread(tmp_path / "out/IM_0001.dcm")
    assert ds.LossyImageCompression == "01"
    assert ds.LossyImageCompressionRatio > 1


def test_write_series_keeps_padding_exactly(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        pixels = real_pixels(5)[k]
        pixels[:3] = -2000
        set_pixels(ds, pixels, bits=16)
        ds.add_new(0x00280120, "SS", -2000)

    build_series(tmp_path / "in", edit=edit)
    fine, _, out = derive(tmp_path)
    assert {ds.PixelPaddingValue for ds in out} == {-2000}
    assert all((ds.pixel_array[:3] == -2000).all() for ds in out)
    back = read_series(scan_of(tmp_path / "out"))
    assert back.attrs["_FillValue"] == fine.attrs["_FillValue"] == -3024
    np.testing.assert_array_equal(back.values, fine.values)


def test_write_series_states_bits_that_agree(built: tuple) -> None:
    for ds in built[2]:
        assert (ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation) == (16, 12, 11, 0)
        assert ds.pixel_array.max() < 4096
        assert (ds.RescaleSlope, ds.RescaleIntercept) == (1, -1024)


def test_write_series_uses_one_slope_for_slices_that_had_their_own(shared_data: Path, tmp_path: Path) -> None:
    source = scan_of(shared_data / "odd/dicom_derived_series/per_slice_rescale")
    fine = refined(read_series(source), 2)
    write_series(fine, tmp_path / "out", source)
    out = [dcmread(path) for path in (tmp_path / "out").iterdir()]
    assert len({(ds.RescaleSlope, ds.RescaleIntercept) for ds in out}) == 1
    back = read_series(scan_of(tmp_path / "out"))
    assert np.abs(back.values - fine.values).max() <= 0.51 * float(out[0].RescaleSlope)
    assert out[0].RescaleSlope < 0.0249  # the smallest step of the source


def test_write_series_keeps_decimal_strings_short(built: tuple) -> None:
    for ds in built[2]:
        for element in ds.iterall():
            if element.VR == "DS":
                values = element.value if element.VM > 1 else [element.value]
                assert all(len(str(value)) <= 16 for value in values)


def test_write_series_makes_identifiers_that_the_source_lacks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(ds: Dataset, k: int) -> None:
        del ds.FrameOfReferenceUID
        ds.StudyInstanceUID = ""

    build_series(tmp_path / "in", edit=edit)
    fine, source, out = derive(tmp_path)
    write_series(fine.assign_attrs(sr_model="other"), tmp_path / "other", source)
    other = dcmread(tmp_path / "other/IM_0001.dcm")
    assert len({ds.FrameOfReferenceUID for ds in [*out, other]}) == 1
    assert len({ds.StudyInstanceUID for ds in [*out, other]}) == 1
    assert "StudyInstanceUID and FrameOfReferenceUID absent in the source" in other.DerivationDescription
    assert "no StudyInstanceUID and no FrameOfReferenceUID" in caplog.text
    assert "secret" not in caplog.text.lower()


def test_write_series_converts_a_big_endian_source(tmp_path: Path) -> None:
    derived = []
    for name in ("MR_small_bigendian.dcm", "MR_small.dcm"):
        (tmp_path / name / "in").mkdir(parents=True)
        shutil.copy(get_testdata_file(name, download=False), tmp_path / name / "in")
        derived.append(derive(tmp_path / name)[2])
    for big, little in zip(*derived, strict=True):
        assert len(big) == len(little) > 60
        for element in big:
            if not DATES.search(element.keyword) and element.keyword != "ContributingEquipmentSequence":
                assert element == little[element.tag]


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_write_series_makes_a_new_series_without_a_source(tmp_path: Path, modality: str) -> None:
    values = real_pixels(4) - np.int16(1000 * (modality == "CT"))
    da = volume(values, affine_of(OBLIQUE), reference={"modality": modality, "slice_thickness": 5.0})
    write_series(da, tmp_path / "out", None)
    scan = scan_of(tmp_path / "out")
    assert (scan.modality, scan.verdict.ok) == (modality, True)
    back = read_series(scan)
    np.testing.assert_array_equal(back.values, values)
    np.testing.assert_allclose(affine(back), affine(da), atol=1e-6)
    assert back.coords["volume_ref"].attrs["slice_thickness"] == 5


def test_write_series_derives_from_an_enhanced_source(shared_data: Path, tmp_path: Path) -> None:
    source = find_series([shared_data / "medical/dcm_mr_enhanced_multiframe/siemens_xa10_6_1.dcm"])[0][0]
    fine = refined(read_series(source))
    write_series(fine, tmp_path / "out", source)
    ds = dcmread(tmp_path / "out/IM_0001.dcm")
    assert ds.SOPClassUID == MRImageStorage
    assert ds.StudyInstanceUID == dcmread(source.files[0], stop_before_pixels=True).StudyInstanceUID
    frames = [item.ReferencedFrameNumber for item in ds.SourceImageSequence]
    assert len(frames) == 1
    assert frames[0] in (1, len(read_series(source)))  # the outermost slice sees the outermost frame alone
    np.testing.assert_array_equal(read_series(scan_of(tmp_path / "out")).values, fine.values)


def test_write_series_writes_a_cropped_and_flipped_volume_in_place(built: tuple, tmp_path: Path) -> None:
    fine, source, _ = built
    part = fine.isel(z=slice(12, 2, -1), y=slice(3, 15), x=slice(20, 4, -1))
    write_series(part, tmp_path / "part", source)
    back = read_series(scan_of(tmp_path / "part"))
    index = np.array([2, 5, 4, 1])
    world = affine(part) @ index
    place = np.rint(np.linalg.solve(affine(back), world)).astype(int)
    np.testing.assert_allclose(affine(back) @ place, world, atol=1e-6)
    assert back.values[tuple(place[:3])] == part.values[tuple(index[:3])]


def test_write_series_refuses_what_is_no_volume(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="no volume_ref"):
        write_series(xr.DataArray(np.zeros((2, 3, 4)), dims=("z", "y", "x")), tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_write_series_refuses_leading_dims(built: tuple, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="select one volume first"):
        write_series(built[0].expand_dims(time=2), tmp_path / "x", built[1])


@pytest.mark.parametrize("modality", ["PT", None])
def test_write_series_refuses_other_modalities(tmp_path: Path, modality: str | None) -> None:
    da = volume(np.zeros((2, 3, 4), np.int16), affine_of(AXIAL), reference={"modality": modality})
    with pytest.raises(WriteError, match="CT and MR, not"):
        write_series(da, tmp_path / "out", None)


def test_write_series_refuses_a_sheared_volume(tmp_path: Path) -> None:
    matrix = affine_of(AXIAL)
    matrix[1, 0] = 1.0
    da = volume(np.zeros((2, 3, 4), np.int16), matrix, reference={"modality": "CT"})
    with pytest.raises(WriteError, match=r"sheared by 9\.46 degrees"):
        write_series(da, tmp_path / "out", None)


def test_write_series_refuses_the_source_of_another_place(built: tuple, tmp_path: Path) -> None:
    fine, source, _ = built
    other = fine.assign_coords(
        volume_ref=((), 0, {**fine.volume_ref.attrs, "frame_of_reference_uid": "1.2.3"})
    )
    with pytest.raises(WriteError, match="another frame of reference"):
        write_series(other, tmp_path / "x", source)


def test_write_series_leaves_array_and_source_untouched(tmp_path: Path) -> None:
    paths = build_series(tmp_path / "in")
    before = [path.read_bytes() for path in paths]
    source = scan_of(tmp_path / "in")
    fine = refined(read_series(source))
    copy = fine.copy(deep=True)
    write_series(fine, tmp_path / "out", source)
    xr.testing.assert_identical(fine, copy)
    assert [path.read_bytes() for path in paths] == before


def test_write_series_says_what_of_its_source_was_repaired(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.GantryDetectorTilt = 14
        place = [float(v) for v in ds.ImagePositionPatient]
        ds.ImagePositionPatient = [place[0], place[1] + 1.5 * k, place[2]]

    build_series(tmp_path / "in", 6, edit=edit)[2].unlink()
    da = read(tmp_path / "in", on_missing="resample", on_tilt="resample")
    write(refined(da, 2), tmp_path / "out", source=tmp_path / "in")
    ds = dcmread(tmp_path / "out/IM_0005.dcm")
    assert "slices shifted by gantry tilt, straightened by linear interpolation" in ds.DerivationDescription
    assert "missing source slices filled by linear interpolation" in ds.DerivationDescription
    assert "slice spacing 6 mm" in ds.DerivationDescription
    assert "GantryDetectorTilt" not in ds  # or some readers would straighten them again
    again = read(tmp_path / "out")
    np.testing.assert_allclose(affine(again)[:3, :3], affine(refined(da, 2))[:3, :3], atol=1e-6)


def test_write_series_keeps_the_tilt_of_slices_that_are_straight(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.GantryDetectorTilt = 14

    build_series(tmp_path / "in", orientation=OBLIQUE, edit=edit)
    ds = derive(tmp_path)[2][0]
    assert ds.GantryDetectorTilt == 14
    assert "interpolation" not in ds.DerivationDescription


REAL = (
    "dcm_mr_pd_ge_axial_oblique",
    "dcm_mr_t1_philips_elition_oblique",
    "dcm_ct_body_siemens_mct_jpeg2000",
)


ENHANCED = (
    "1901_WIP_3DpCASL_real.dcm",
    "philips_IM_0027_fMAP.dcm",
    "siemens_cimax_xa61_88972279",
    "siemens_terrax_xa60_75739475",
    "siemens_xa10_6_1.dcm",
)


@pytest.fixture(scope="module", params=REAL)
def real(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[xr.DataArray, Scan, Path]:
    """A real series, its first slices derived with four slices for each."""
    folder = tmp_path_factory.mktemp(request.param)
    source = scan_of(shared_data / "medical" / request.param)
    fine = refined(read_series(source).isel(z=slice(0, 6)))
    write_series(fine, folder, source)
    return fine, source, folder


def test_write_series_of_real_scans_reads_back_in_place(real: tuple) -> None:
    fine, _, folder = real
    back = read_series(scan_of(folder))
    np.testing.assert_allclose(affine(back), affine(fine), atol=1e-6)
    np.testing.assert_allclose(back.values, fine.values, rtol=1e-6, atol=0.1 * (fine.dtype.kind == "f"))


def test_write_series_of_real_scans_lies_there_for_simpleitk(real: tuple) -> None:
    fine, _, folder = real
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in sorted(folder.iterdir())])
    image = reader.Execute()
    matrix = affine(fine)
    np.testing.assert_allclose(image.GetOrigin(), matrix[:3, 3], atol=1e-6)
    for column, axis in ((1, 1), (2, 0)):
        index = [0, 0, 0]
        index[axis] = 1
        step = np.subtract(image.TransformIndexToPhysicalPoint(index), image.GetOrigin())
        np.testing.assert_allclose(step, matrix[:3, column], atol=1e-6)
    assert image.GetSpacing()[2] == pytest.approx(np.linalg.norm(matrix[:3, 0]), abs=1e-6)


def test_write_series_of_real_scans_lies_there_for_highdicom(real: tuple) -> None:
    fine, _, folder = real
    oracle = hd.get_volume_from_series([dcmread(path) for path in folder.iterdir()])
    matrix, flip = affine(fine), 1
    if oracle.affine[:3, 0] @ matrix[:3, 0] < 0:  # highdicom may count slices the other way
        matrix[:3, 3] = (matrix @ [fine.sizes["z"] - 1, 0, 0, 1])[:3]
        flip = -1
    np.testing.assert_allclose(oracle.affine, matrix * [flip, 1, 1, 1], atol=1e-6)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
def test_write_series_of_real_scans_adds_no_error_for_dciodvfy(real: tuple) -> None:
    _, source, folder = real
    known = {line for path in source.files[:6] for line in dciodvfy_errors(path)}
    for path in sorted(folder.iterdir())[::5]:
        assert dciodvfy_errors(path) - known == set()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_write_series_without_a_source_has_no_error_for_dciodvfy(tmp_path: Path, modality: str) -> None:
    da = volume(real_pixels(3), affine_of(OBLIQUE), reference={"modality": modality})
    write_series(da, tmp_path, None)
    assert dciodvfy_errors(tmp_path / "IM_0002.dcm") == set()


@pytest.fixture(scope="module", params=ENHANCED)
def enhanced(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Scan, list[Path]]:
    """An enhanced file; the first slices of each of its parts derived with two for each."""
    folder = tmp_path_factory.mktemp("enhanced")
    scans, _ = find_series([shared_data / "medical/dcm_mr_enhanced_multiframe" / request.param])
    for k, source in enumerate(scans):
        write_series(refined(read_series(source).isel(z=slice(0, 2)), 2), folder / str(k), source)
    return scans[0], sorted(folder.rglob("*.dcm"))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
def test_write_series_of_enhanced_sources_adds_no_error_for_dciodvfy(enhanced: tuple) -> None:
    source, made = enhanced
    known = dciodvfy_errors(source.files[0])
    assert [dciodvfy_errors(path) - known for path in made[::4]] == [set()] * len(made[::4])


def test_write_series_of_enhanced_sources_keeps_the_text_of_the_grid(enhanced: tuple) -> None:
    source, made = enhanced
    ds = dcmread(source.files[0], stop_before_pixels=True)
    groups = (ds.PerFrameFunctionalGroupsSequence[0], ds.SharedFunctionalGroupsSequence[0])
    for group, name in (
        ("PixelMeasuresSequence", "PixelSpacing"),
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
    ):
        stated = next(item[group].value[0] for item in groups if group in item)[name].value
        for path in made:
            assert [str(v) for v in dcmread(path)[name].value] == [str(v) for v in stated]


@pytest.mark.parametrize(
    ("part", "side", "expected"),
    [("BRAIN", "U", None), ("BRAIN", "L", None), ("KNEE", "R", "R"), ("KNEE", "B", ""), ("", "U", "")],
)
def test_write_series_states_the_side_of_a_paired_body_part_alone(
    shared_data: Path, tmp_path: Path, part: str, side: str, expected: str | None
) -> None:
    ds = dcmread(shared_data / "medical/dcm_mr_enhanced_multiframe/siemens_xa10_6_1.dcm")
    ds.BodyPartExamined = part
    for groups in (*ds.SharedFunctionalGroupsSequence, *ds.PerFrameFunctionalGroupsSequence):
        for anatomy in groups.get("FrameAnatomySequence", []):
            anatomy.FrameLaterality = side
    ds.save_as(tmp_path / "e.dcm")
    source = find_series([tmp_path / "e.dcm"])[0][0]
    write_series(read_series(source)[:1], tmp_path / "out", source)
    assert dcmread(tmp_path / "out/IM_0001.dcm").get("Laterality") == expected
