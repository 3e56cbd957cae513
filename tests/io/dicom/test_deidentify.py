"""De-identified outputs hold no trace of the patient, and what is kept is on no list of the standard."""

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as profile
from helpers.derived_series import dciodvfy_errors, refined, scan_of
from helpers.dicom_series import OBLIQUE, build_series
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from typer.testing import CliRunner

from sr_imaging import WriteError, find_scans, read, write
from sr_imaging.batch import one_scan as batch_scan
from sr_imaging.cli.__main__ import app
from sr_imaging.image.grid.volumes import affine, volume
from sr_imaging.io.dicom.checking.series import check_scans
from sr_imaging.io.dicom.reading.series import read_series
from sr_imaging.io.dicom.writing.deidentify import KEPT, new_uid
from sr_imaging.io.scan import Check

PLANTED = ("Secret", "SECRETID", "Hiddenstreet", "Operatorix", "Doctorow", "Klinikum", "Erzähler", "A77")
DATES = ("20200102", "030405", "030507", "19440506")
# On the list of the standard, and written anew or replaced: identifiers.
MADE_ANEW = {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"}


def with_patient(ds: Dataset, k: int) -> None:
    """Plant names and dates where they occur: in any group, in sequences, in private and unknown elements."""
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientBirthDate, ds.PatientAddress = "19440506", "Hiddenstreet 5"
    ds.OperatorsName, ds.PerformingPhysicianName = "Operatorix^A", "Doctorow^B"
    ds.InstitutionName, ds.StationName = "Klinikum", "Klinikum 1"
    ds.ImageComments, ds.PatientComments = "Secret smile", "Erzähler"
    ds.SeriesDescription, ds.StudyDescription, ds.ProtocolName = "Secret thick", "Erzähler", "Klinikum head"
    ds.AcquisitionDateTime, ds.DeviceSerialNumber = "20200102030405", "A77"
    ds.InstitutionalDepartmentName = "Klinikum"
    ds.WindowCenterWidthExplanation = "Doctorow"
    ds.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", "Secret^Name")
    request = Dataset()
    request.RequestedProcedureDescription, request.RequestingPhysician = "Klinikum", "Doctorow^B"
    ds.RequestAttributesSequence = [request]
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = "SECRETID", "Klinikum"
    ds.OtherPatientIDsSequence = [other]
    maker = Dataset()
    maker.Manufacturer, maker.InstitutionName, maker.StationName = "Maker", "Klinikum", "Klinikum"
    ds.ContributingEquipmentSequence = [maker]
    ds.add_new(0x00101234, "LO", "Secret retired")
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = ds.SOPClassUID, "1.2.3.4.5"
    ds.ReferencedImageSequence = [image]


def with_two_times(ds: Dataset, k: int) -> None:
    """The same for a series of three slices at two times."""
    with_patient(ds, k)
    if k >= 3:
        ds.AcquisitionTime = "030507"


def traces(root: Path) -> list[tuple[str, str]]:
    """Planted words and dates in any byte of any file, or in its name."""
    found = []
    for path in sorted(root.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        data += path.relative_to(root).as_posix().encode()
        words = [word for word in (*PLANTED, *DATES) if word.encode() in data]
        found += [(path.name, word) for word in words]
    return found


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """A CT of three slices that names its patient, in a folder that does so as well."""
    folder = tmp_path / "in" / "Secret^Name"
    build_series(folder, 3, orientation=OBLIQUE, edit=with_patient)
    return folder


@pytest.mark.parametrize("form", ["dicom", "parametric-map", "nifti", "zarr"])
def test_deidentified_output_holds_no_trace_of_the_patient(patient: Path, tmp_path: Path, form: str) -> None:
    source = scan_of(patient)
    da = refined(read_series(source)).assign_attrs(description="Secret", history="Secret.dcm")
    uid = source.series_uid or "none"
    write(da, tmp_path / "out/x", source=source, format=form, deidentify=True)
    assert traces(tmp_path / "out") == []
    study = dcmread(source.files[0]).StudyInstanceUID
    data = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    for old in (uid, study, dcmread(source.files[0]).FrameOfReferenceUID, source.files[0].name):
        assert old.encode() not in data


def test_patient_is_carried_unless_asked(patient: Path, tmp_path: Path) -> None:
    source = scan_of(patient)
    write(refined(read_series(source)), tmp_path / "out", source=source)
    assert {"Secret", "SECRETID", "Klinikum", "20200102"} <= {word for _, word in traces(tmp_path / "out")}


def test_command_line_leaves_no_trace_of_the_patient(
    patient: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    arguments = ["upscale", str(patient.parent), "-o", str(tmp_path / "out"), "-m", "cubic", "--scale", "z=2"]
    done = CliRunner().invoke(app, [*arguments, "--deidentify", "-vv"])
    assert done.exit_code == 0, done.output
    assert traces(tmp_path / "out") == []
    (made,) = find_scans(tmp_path / "out")
    assert re.fullmatch(r"scan-[0-9a-f]{12}", made.path.name)
    assert made.verdict.ok


def test_logs_and_reports_hold_no_patient_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """In any run, for good series and refused ones; folders have names that say nothing."""
    caplog.set_level(logging.DEBUG)
    build_series(tmp_path / "in/good", 3, edit=with_patient)
    build_series(tmp_path / "in/gap", 4, steps=np.array([0.0, 6, 12, 24]), edit=with_patient)
    build_series(tmp_path / "in/bad", 3, edit=lambda ds, k: (with_patient(ds, k), ds.pop(0x00200032)))
    build_series(tmp_path / "in/times", 6, steps=np.array([0.0, 6, 12, 0, 6, 12]), edit=with_two_times)
    build_series(tmp_path / "in/times", 6, steps=np.array([0.0, 6, 12] * 2), edit=with_two_times)
    broken = (tmp_path / "in/bad/IM0001.dcm").read_bytes()
    (tmp_path / "in/bad/IM0001.dcm").write_bytes(broken[: len(broken) // 2])
    report = tmp_path / "report.json"
    arguments = [
        "upscale",
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "out"),
        "-m",
        "cubic",
        "--scale",
        "z=2",
    ]
    done = CliRunner().invoke(app, [*arguments, "-vv", "--report", str(report)])
    shown = CliRunner().invoke(app, ["inspect", "--check", str(tmp_path / "in"), str(tmp_path / "out")])
    assert (done.exit_code, shown.exit_code) == (3, 3)
    said = done.output + shown.output + caplog.text + report.read_text() + "".join(capsys.readouterr())
    said += (tmp_path / "out/.sr_imaging-done.jsonl").read_text()
    assert [word for word in (*PLANTED, *DATES) if word in said] == []
    assert "AcquisitionTime 1 of 2" in said
    assert json.loads(report.read_text())["scans"][0]["status"] in ("done", "failed")


@pytest.mark.parametrize("wrapped", [False, True])
def test_reports_quote_no_errors_of_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    """They may hold values of a header, as pydicom's do; our own say what is wrong without them."""

    quoting = "unable to convert 'Secret^Name' to a date"

    def failing(*_: object, **__: object) -> None:
        try:
            raise ValueError(quoting)
        except ValueError as error:
            if wrapped:
                raise WriteError("an element is odd") from error
            raise

    build_series(tmp_path / "in", 3)
    monkeypatch.setattr(batch_scan, "write", failing)
    report = tmp_path / "report.json"
    arguments = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", "cubic"]
    done = CliRunner().invoke(app, [*arguments, "--scale", "z=2", "-vv", "--report", str(report)])
    assert "Secret" not in done.output + report.read_text()
    (scan,) = json.loads(report.read_text())["scans"]
    assert scan["cause"].startswith("an element is odd" if wrapped else "ValueError; see the traceback")
    assert "in failing" in scan["trace"]
    assert "ValueError\n" in scan["trace"]


def test_kept_elements_are_on_no_list_of_the_standard() -> None:
    """Table E.1-1 of PS3.15 2026c, as dicom-anonymizer copies it from the standard."""
    listed = {tag[0] << 16 | tag[1] for tag in profile.ALL_TAGS if len(tag) == 2}
    assert len(listed) > 600
    assert {keyword_for_tag(tag) for tag in KEPT & listed} == MADE_ANEW


def test_deidentified_series_states_what_was_done(patient: Path, tmp_path: Path) -> None:
    source = scan_of(patient)
    write(refined(read_series(source)), tmp_path / "out", source=source, deidentify=True)
    ds = dcmread(tmp_path / "out/IM_0002.dcm")
    assert (ds.PatientIdentityRemoved, ds.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert ds.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert (str(ds.PatientName), ds.PatientID, ds.StudyDate, ds.ContentDate) == ("", "", "", "")
    assert (ds.KVP, ds.WindowCenter, ds.SeriesDescription) == (120, 40, "SR 4 1 1")
    assert not {"AcquisitionDate", "SeriesDate", "InstanceCreationDate"} & {element.keyword for element in ds}


def test_deidentified_series_passes_the_check(patient: Path, tmp_path: Path) -> None:
    source = scan_of(patient)
    write(refined(read_series(source)), tmp_path / "out", source=source, deidentify=True)
    (found,) = check_scans([scan_of(tmp_path / "out")])
    assert found == Check((), ("its source series was not given, so its place was not compared",))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_deidentified_series_has_no_error_for_dciodvfy(tmp_path: Path, modality: str) -> None:
    build_series(tmp_path / "in", 3, modality=modality)
    source = scan_of(tmp_path / "in")
    write(refined(read_series(source)), tmp_path / "out", source=source, deidentify=True)
    known = dciodvfy_errors(source.files[0])
    assert dciodvfy_errors(tmp_path / "out/IM_0002.dcm") - known == set()


def test_deidentified_series_has_the_same_bytes_in_every_run(patient: Path, tmp_path: Path) -> None:
    source = scan_of(patient)
    da = refined(read_series(source))
    for name in ("one", "two"):
        write(da, tmp_path / name, source=source, deidentify=True)
    one, two = ([path.read_bytes() for path in sorted((tmp_path / n).iterdir())] for n in ("one", "two"))
    assert one == two


def test_deidentified_values_and_place_are_the_same(patient: Path, tmp_path: Path) -> None:
    source = scan_of(patient)
    da = refined(read_series(source))
    write(da, tmp_path / "out", source=source, deidentify=True)
    back = read(tmp_path / "out")
    np.testing.assert_array_equal(back.values, da.values)
    np.testing.assert_allclose(affine(back), affine(da), atol=1e-6)


def test_two_series_of_a_study_stay_in_one_study_and_frame(tmp_path: Path) -> None:
    def second(ds: Dataset, k: int) -> None:
        ds.SeriesInstanceUID, ds.SeriesNumber = "1.2.3.4", 8
        ds.SOPInstanceUID = f"1.2.3.4.{k + 1}"

    build_series(tmp_path / "a", 3)
    build_series(tmp_path / "b", 3, edit=second)
    made = []
    for name in ("a", "b"):
        source = scan_of(tmp_path / name)
        write(refined(read_series(source)), tmp_path / "out" / name, source=source, deidentify=True)
        made.append(dcmread(tmp_path / "out" / name / "IM_0001.dcm"))
    old = dcmread(tmp_path / "a/IM0000.dcm")
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[0][name] == made[1][name]
        assert made[0][name].value == new_uid(old[name].value) != old[name].value
    assert made[0].SeriesInstanceUID != made[1].SeriesInstanceUID
    assert made[0].SourceImageSequence[0].ReferencedSOPInstanceUID == new_uid(old.SOPInstanceUID)


def test_new_uid_leaves_those_of_the_standard() -> None:
    assert new_uid("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"
    assert new_uid("") == ""
    assert len(new_uid("1.2.3")) <= 64


def secondary(ds: Dataset, k: int) -> None:
    ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]


def captured(ds: Dataset, k: int) -> None:
    ds.ConversionType = "WSD"


def burned(ds: Dataset, k: int) -> None:
    ds.BurnedInAnnotation = "YES" if k == 1 else "NO"


@pytest.mark.parametrize("form", ["dicom", "parametric-map", "nifti"])
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (burned, "BurnedInAnnotation is YES"),
        (captured, "it is a secondary capture"),
        (secondary, "ImageType holds SECONDARY"),
    ],
)
def test_pixels_that_may_hold_text_are_refused(tmp_path: Path, edit: object, reason: str, form: str) -> None:
    build_series(tmp_path / "in", 3, edit=edit)  # type: ignore[arg-type]
    source = scan_of(tmp_path / "in")
    with pytest.raises(WriteError, match=reason):
        write(read_series(source), tmp_path / "out", source=source, format=form, deidentify=True)
    assert not (tmp_path / "out").exists()


def test_secondary_images_that_state_no_text_are_taken(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        secondary(ds, k)
        ds.BurnedInAnnotation = "NO"

    build_series(tmp_path / "in", 3, edit=edit)
    source = scan_of(tmp_path / "in")
    write(read_series(source), tmp_path / "out", source=source, deidentify=True)
    assert dcmread(tmp_path / "out/IM_0001.dcm").BurnedInAnnotation == "NO"


def test_rasters_are_not_deidentified(tmp_path: Path) -> None:
    da = xr.DataArray(np.zeros((3, 4), np.uint8), dims=("y", "x"))
    with pytest.raises(WriteError, match="only volumes in patient space can be de-identified"):
        write(da, tmp_path / "x.tif", deidentify=True)


def test_command_line_deidentifies_dicom_alone(tmp_path: Path) -> None:
    write(volume(np.zeros((4, 6, 5), np.int16), np.eye(4)), tmp_path / "in/x.nii.gz")
    arguments = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", "cubic", "--scale", "2"]
    done = CliRunner().invoke(app, [*arguments, "--deidentify"])
    assert done.exit_code == 5
    assert "only DICOM series can be de-identified" in done.stderr


@pytest.mark.slow
def test_real_headers_lose_their_names(shared_data: Path, tmp_path: Path) -> None:
    for name in ("dcm_mr_pd_ge_axial_oblique", "dcm_mr_t1_philips_elition_oblique"):
        source = scan_of(shared_data / "medical" / name)
        write(read_series(source)[:2], tmp_path / name, source=source, deidentify=True)
        ds = dcmread(tmp_path / name / "IM_0001.dcm")
        header = dcmread(source.files[0], stop_before_pixels=True)
        data = (tmp_path / name / "IM_0001.dcm").read_bytes()
        for element in header.iterall():
            if element.VR in ("PN", "LT", "ST", "UT", "DA", "DT") and len(str(element.value)) > 3:
                assert str(element.value).encode("utf-8", "replace") not in data
        assert ds.RepetitionTime == header.RepetitionTime
