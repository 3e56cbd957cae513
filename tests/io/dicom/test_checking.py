"""The checker of derived series finds what dciodvfy does not see, and nothing in what is written here."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.derived_series import derive, refined, scan_of
from helpers.dicom_series import CORONAL, OBLIQUE, build_series
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian
from typer.testing import CliRunner

from sr_imaging.cli.__main__ import app
from sr_imaging.io.dicom.checking.series import check_scans
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom
from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.reading.series import read_series
from sr_imaging.io.dicom.writing.series import write_series
from sr_imaging.io.scan import Check

Edit = Callable[[Dataset], None]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CT of three slices in `in` and the one derived from it in `out`."""
    folder = tmp_path_factory.mktemp("written")
    build_series(folder / "in", 3, orientation=OBLIQUE)
    derive(folder)
    return folder


def checked(folder: Path) -> Check:
    """The check of `out`, beside its source."""
    _, found = check_scans([scan_of(folder / "in"), scan_of(folder / "out")])
    assert found is not None
    return found


def changed(written: Path, folder: Path, edit: Edit, *, only: int | None = None) -> Check:
    """The check of a copy of `out`, of which all files or one are changed."""
    (folder / "out").mkdir(parents=True)
    for index, path in enumerate(sorted((written / "out").iterdir())):
        ds = dcmread(path)
        if only is None or index == only:
            edit(ds)
        with quiet_pydicom():
            ds.save_as(folder / "out" / path.name)
    found = check_scans([scan_of(written / "in"), scan_of(folder / "out")])[1]
    assert found is not None
    return found


def setting(**values: object) -> Edit:
    def edit(ds: Dataset) -> None:
        for name, value in values.items():
            setattr(ds, name, value)

    return edit


def lacking(*names: str) -> Edit:
    def edit(ds: Dataset) -> None:
        for name in names:
            delattr(ds, name)

    return edit


def in_equipment(ds: Dataset) -> None:
    ds.ContributingEquipmentSequence[0].SoftwareVersions = ""


def in_purpose(ds: Dataset) -> None:
    ds.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue = "121320"


def to_itself(ds: Dataset) -> None:
    ds.SourceImageSequence[0].ReferencedSOPInstanceUID = ds.SOPInstanceUID


def to_another_series(ds: Dataset) -> None:
    ds.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"


def long_decimal(ds: Dataset) -> None:
    from pydicom.valuerep import DSfloat

    ds["SliceLocation"]._value = DSfloat("1.23456789012345678")


def bad_uid(ds: Dataset) -> None:
    with quiet_pydicom():
        ds.FrameOfReferenceUID = "1.2.03"


def largest(ds: Dataset) -> None:
    ds.add_new(0x00280107, "US", 7)


def private(ds: Dataset) -> None:
    ds.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", "any")


def overlay(ds: Dataset) -> None:
    ds.add_new(0x60000010, "US", 8)


def beyond_bits(ds: Dataset) -> None:
    pixels = ds.pixel_array.copy()
    pixels[2, 3] = 4096
    ds.PixelData = pixels.tobytes()


def shift(mm: float) -> Edit:
    """A grid that begins so many mm later along the normal, as where half a voxel is forgotten."""

    def edit(ds: Dataset) -> None:
        cosines = np.array(ds.ImageOrientationPatient, float)
        moved = np.array(ds.ImagePositionPatient, float) + mm * np.cross(cosines[:3], cosines[3:])
        ds.ImagePositionPatient = [round(float(v), 9) for v in moved]

    return edit


def test_check_finds_nothing_in_a_written_series(written: Path) -> None:
    assert checked(written) == Check()


def test_check_calls_acquired_slices_acquired(written: Path) -> None:
    assert check_scans([scan_of(written / "in")]) == [Check(notes=("acquired, not derived",))]


def test_check_tells_of_faults_of_acquired_slices_as_notes(tmp_path: Path) -> None:
    build_series(tmp_path / "in", 3, edit=lambda ds, k: setattr(ds, "HighBit", 15))
    (found,) = check_scans([scan_of(tmp_path / "in")])
    assert found is not None
    assert found.problems == ()
    assert "12 bits stored of 16 with high bit 15" in found.notes[1]


def test_check_does_not_blame_a_derived_series_for_faults_of_its_source(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.PatientIdentityRemoved = "YES"  # without a method

    build_series(tmp_path / "in", 3, edit=edit)
    derive(tmp_path)
    assert checked(tmp_path) == Check()
    (alone,) = check_scans([scan_of(tmp_path / "out")])
    assert alone is not None
    assert "PatientIdentityRemoved is YES without DeidentificationMethod" in alone.problems[0]


def test_check_says_that_the_source_was_not_given(written: Path) -> None:
    (found,) = check_scans([scan_of(written / "out")])
    assert str(found) == "ok; its source series was not given, so its place was not compared"


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (setting(ImageType=["DERIVED", "SECONDARY"]), "third value of ImageType"),
        (setting(ImageType=["DERIVED", "OTHER", "AXIAL"]), "ImageType does not begin with"),
        (setting(DerivationDescription=""), "no DerivationDescription"),
        (lacking("DerivationCodeSequence"), "no DerivationCodeSequence with 113085 Spatial resampling"),
        (lacking("ContributingEquipmentSequence"), "no ContributingEquipmentSequence with 109102"),
        (in_equipment, "no SoftwareVersions in ContributingEquipmentSequence"),
        (in_purpose, "a source without the purpose 121322"),
        (to_itself, "SourceImageSequence names the slice itself"),
        (to_another_series, "a source that is not a slice of the source series"),
        (long_decimal, "SliceLocation has more than 16 characters"),
        (bad_uid, "FrameOfReferenceUID is not a well-formed identifier"),
        (setting(HighBit=15), "12 bits stored of 16 with high bit 15"),
        (setting(RescaleSlope=0), "RescaleSlope is 0"),
        (lacking("RescaleIntercept"), "no RescaleSlope or RescaleIntercept"),
        (beyond_bits, "stored values 0? ?.*4096 do not fit 12 bits"),
        (largest, r"LargestImagePixelValue is 7, not \d+"),
        (setting(ReconstructionDiameter=300), "ReconstructionDiameter of the source"),
        (overlay, r"\(6000,0010\) of the source"),
        (private, "private elements"),
        (
            setting(LossyImageCompression="01"),
            "LossyImageCompression is 01 without LossyImageCompressionRatio",
        ),
        (setting(PatientIdentityRemoved="YES"), "YES without DeidentificationMethod"),
        (setting(PatientIdentityRemoved="YES", BurnedInAnnotation="YES"), "and so is BurnedInAnnotation"),
        (setting(PatientID="other"), "PatientID is not that of the source"),
        (setting(StudyInstanceUID="1.2.3"), "StudyInstanceUID is not that of the source"),
        (setting(SliceThickness=9), "slices of 9 mm are thicker than those of the source, 5 mm"),
        (setting(SpacingBetweenSlices=6), "SpacingBetweenSlices is 6 mm, and slices lie 1.5 mm apart"),
        (setting(InstanceNumber=4), "InstanceNumber does not count"),
        (setting(SliceLocation=4), "SliceLocation does not follow"),
        (lacking("SliceLocation"), "no SliceLocation"),
        (shift(2.25), "along z the grid is shifted by -0.75 mm"),
        (shift(-1.5), "along z the grid ends 1.5 mm beyond the source"),
        (setting(PixelSpacing=[1.25, 0.7]), "along x the grid is shifted"),
    ],
)
def test_check_finds(written: Path, tmp_path: Path, edit: Edit, problem: str) -> None:
    found = changed(written, tmp_path, edit)
    assert re.search(problem, "\n".join(found.problems))


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (setting(RescaleSlope=2), "RescaleSlope differs between slices"),
        (setting(SliceThickness=1.5), "SliceThickness differs between slices"),
        (setting(PatientName="Other^One"), "PatientName differs between slices"),
        (setting(WindowWidth=0), None),
    ],
)
def test_check_compares_slices(written: Path, tmp_path: Path, edit: Edit, problem: str | None) -> None:
    found = changed(written, tmp_path, edit, only=5)
    assert [text for text in found.problems if "differs" in text] == ([problem] if problem else [])


def test_check_names_the_files_of_a_problem(written: Path, tmp_path: Path) -> None:
    found = changed(written, tmp_path, lacking("DerivationCodeSequence"), only=5)
    assert any("(1 of 12 files: IM_0006.dcm)" in text for text in found.problems)


def test_check_finds_instances_that_share_an_identifier(written: Path, tmp_path: Path) -> None:
    uid = dcmread(written / "out/IM_0001.dcm").SOPInstanceUID

    def edit(ds: Dataset) -> None:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid

    assert "12 slices share 1 SOPInstanceUIDs" in changed(written, tmp_path, edit).problems


def test_check_finds_file_meta_information_of_another_object(written: Path, tmp_path: Path) -> None:
    def edit(ds: Dataset) -> None:
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    found = changed(written, tmp_path, edit)
    assert "MediaStorageSOPInstanceUID is not the SOPInstanceUID" in found.problems[0]


def test_check_reads_implicit_transfer_syntax(written: Path, tmp_path: Path) -> None:
    def edit(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    assert changed(written, tmp_path, edit).problems == ()


@pytest.mark.parametrize("scale", [2, 3, 5])
def test_check_accepts_crops_of_a_refined_volume(tmp_path: Path, scale: int) -> None:
    build_series(tmp_path / "in", 4, orientation=CORONAL)
    source = scan_of(tmp_path / "in")
    fine = refined(read_series(source), scale)
    write_series(fine.isel(z=slice(1, 7), y=slice(2, 9), x=slice(3, 20)), tmp_path / "out", source)
    assert checked(tmp_path) == Check()


def test_check_finds_a_lost_mark_of_lossy_compression(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", 9.5
        ds.LossyImageCompressionMethod = "ISO_15444_1"

    build_series(tmp_path / "in", 3, edit=edit)
    derive(tmp_path)
    found = changed(tmp_path, tmp_path / "bad", lacking("LossyImageCompression"))
    assert any("LossyImageCompression of the source is lost" in text for text in found.problems)


def test_check_finds_nothing_in_series_derived_from_enhanced_files(shared_data: Path, tmp_path: Path) -> None:
    source = find_series([shared_data / "medical/dcm_mr_enhanced_multiframe/siemens_xa10_6_1.dcm"])[0][0]
    write_series(refined(read_series(source)[:3], 2), tmp_path / "out", source)
    assert check_scans([source, scan_of(tmp_path / "out")])[1] == Check()


def test_check_survives_damaged_headers(written: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    (tmp_path / "out").mkdir()
    for path in sorted((written / "out").iterdir()):
        data = bytearray(path.read_bytes())
        for place in rng.integers(200, len(data) - 1200, 12):
            data[place] = rng.integers(256)
        (tmp_path / "out" / path.name).write_bytes(data)
    scans, _ = find_series((tmp_path / "out").iterdir())
    assert len(check_scans(scans)) == len(scans)


def test_inspect_check_exits_3_where_there_are_problems(written: Path, tmp_path: Path) -> None:
    changed(written, tmp_path, lacking("DerivationCodeSequence"))
    done = CliRunner().invoke(app, ["inspect", "--check", str(tmp_path / "out")])
    assert (done.exit_code, "no DerivationCodeSequence" in done.stdout) == (3, True)


def test_inspect_check_gives_problems_as_json(written: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", "--check", "--json", str(written)])
    assert done.exit_code == 0
    assert [item["check"]["problems"] for item in json.loads(done.stdout)] == [[], []]
    assert "Secret" not in done.output


def test_check_tells_files_of_one_name_in_two_folders_apart(tmp_path: Path) -> None:
    """As a DICOMDIR may name them."""
    build_series(tmp_path / "A", 4)
    for k in (2, 3):
        (tmp_path / "B").mkdir(exist_ok=True)
        (tmp_path / f"A/IM{k:04d}.dcm").rename(tmp_path / f"B/IM{k - 2:04d}.dcm")
    (scan,), _ = find_series([*(tmp_path / "A").iterdir(), *(tmp_path / "B").iterdir()])
    path = tmp_path / "A/IM0000.dcm"
    ds = dcmread(path)
    ds.StudyID = ds.AccessionNumber = "another"
    ds.save_as(path)
    (found,) = check_scans([scan])
    assert found is not None
    assert "AccessionNumber differs between slices" in found.notes
