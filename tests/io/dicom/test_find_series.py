"""Which files form which series, and the verdict on every trap."""

import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.dicom_series import (
    AXIAL,
    CORONAL,
    ORIGIN,
    PIXEL,
    SHAPE,
    STEP,
    build_series,
    real_pixels,
    set_pixels,
)
from pydicom.data import get_testdata_file

from sr_imaging.io.content import is_dicom
from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.find import find_scans
from sr_imaging.io.scan import Scan

OK = ""
# Every series of the shared folder: the verdicts of its scans in order, as regex of the reason; OK is none.
EXPECTED = {
    "medical/dcm_ct_body_siemens_mct_jpeg2000": [OK],
    "medical/dcm_ct_head_ge_tilt_varspacing": [r"tilt: .* 18\.5 degrees.*uneven"],
    "medical/dcm_mr_enhanced_multiframe": [OK] * 6,
    "medical/dcm_mr_pd_ge_axial_oblique": [OK],
    "medical/dcm_mr_phase_siemens_trio": [OK],
    "medical/dcm_mr_t1_philips_elition_oblique": [OK],
    "medical/dcm_mr_transfer_syntaxes_siemens": [OK] * 9,
    "odd/dicom_broken_series/slicecount/001": [OK],
    "odd/dicom_broken_series/sliceincrement/002": [r"tilt: .* 15\.5 degrees.*1 slice is missing"],
    "odd/dicom_broken_series/sliceorientation/001": [OK, OK],
    "odd/dicom_derived_series/duplicate_position": [OK],
    "odd/dicom_derived_series/missing_slice": [r"gap of 2 mm between IM0005\.dcm .* and IM0007\.dcm"],
    "odd/dicom_derived_series/mixed_two_series": [OK, OK],
    "odd/dicom_derived_series/no_pixelspacing": ["9 of 9 slices have no PixelSpacing"],
    "odd/dicom_derived_series/no_position": ["9 of 9 slices have no ImagePositionPatient"],
    "odd/dicom_derived_series/nonsquare_pixels": [OK],
    "odd/dicom_derived_series/ok_reference": [OK],
    "odd/dicom_derived_series/one_slice_other_matrix": [r"gap of 2 mm between IM0003\.dcm"],
    "odd/dicom_derived_series/one_truncated": [r"gap of 2 mm between IM0004\.dcm"],
    "odd/dicom_derived_series/per_slice_rescale": [OK],
    "odd/dicom_derived_series/shuffled_names_no_extension": [OK],
    "odd/dicom_derived_series/spacing_jitter_1pct": [OK],
    "odd/dicom_derived_series/with_foreign_files": [OK],
    "odd/dicom_derived_series/wrong_slicethickness": [OK],
    **{
        f"odd/dicom_nema_wg04/{name}": [OK, OK, OK, OK, "no ImagePositionPatient"]
        for name in ("J2KI", "J2KR", "JLSL", "JLSN", "JPLL", "RLE")
    },
    "odd/dicom_nema_wg04/JPLY": [OK, OK, "no ImagePositionPatient"],
}


def only(folder: Path) -> Scan:
    scans, _ = find_series(folder.iterdir())
    assert len(scans) == 1
    return scans[0]


def test_expected_table_names_every_series(shared_data: Path) -> None:
    folders = {
        path.parent.relative_to(shared_data).as_posix()
        for pattern in ("medical/dcm_*", "odd/dicom_*")
        for root in shared_data.glob(pattern)
        for path in root.rglob("*")
        if path.is_file() and path.name != "SOURCE.txt"
    }
    assert folders == set(EXPECTED)


@pytest.mark.parametrize("folder", EXPECTED)
def test_find_series_gives_the_expected_verdicts(shared_data: Path, folder: str) -> None:
    start = time.perf_counter()
    scans, left_out = find_series((shared_data / folder).iterdir())
    assert time.perf_counter() - start < 10
    assert len(scans) == len(EXPECTED[folder])
    for scan, reason in zip(scans, EXPECTED[folder], strict=True):
        assert scan.verdict.ok == (reason == OK)
        assert re.search(reason, scan.verdict.reason)
        assert scan.verdict.ok or re.search(r"; \w+ \w+", scan.verdict.reason)
    assert all(re.search(r"; \w+ \w+", why) for _, why in left_out)


def test_find_series_sorts_files_and_states_the_grid(tmp_path: Path) -> None:
    names = ["c", "a.dcm", "e", "b.img", "d"]
    paths = build_series(tmp_path, 5, names=names, edit=lambda ds, k: setattr(ds, "InstanceNumber", 9 - k))
    scan = only(tmp_path)
    assert scan.files == tuple(paths)
    assert scan.path == tmp_path
    assert (scan.kind, scan.modality, scan.shape) == ("dicom", "CT", (5, *SHAPE))
    assert scan.spacing == (STEP, *PIXEL)
    assert scan.facts["slice_thickness"] == 5
    assert scan.facts["transfer_syntax"] == "Explicit VR Little Endian"


def test_find_series_needs_no_instance_number(tmp_path: Path) -> None:
    build_series(tmp_path, edit=lambda ds, k: delattr(ds, "InstanceNumber"))
    assert only(tmp_path).verdict.ok


def test_find_series_refuses_a_missing_slice_with_its_neighbours(tmp_path: Path) -> None:
    build_series(tmp_path, 6)[3].unlink()
    reason = only(tmp_path).verdict.reason
    assert re.search(r"gap of 12 mm between IM0002\.dcm at -28 mm and IM0004\.dcm at -16 mm", reason)
    assert reason.endswith("; add the missing files or ask for on_missing=resample")


def test_find_series_drops_an_identical_copy(tmp_path: Path) -> None:
    paths = build_series(tmp_path)
    (tmp_path / "copy.dcm").write_bytes(paths[2].read_bytes())
    scan = only(tmp_path)
    assert scan.verdict.ok
    assert scan.shape[0] == 5
    assert any("identical copy" in note for note in scan.verdict.notes)


def test_find_series_refuses_different_pixels_at_one_position(tmp_path: Path) -> None:
    build_series(tmp_path, 5, steps=STEP * np.array([0, 1, 2, 2, 3]))
    assert re.search(
        r"1 positions hold duplicate slices with different pixels \(IM0002\.dcm and IM0003\.dcm at -28 mm\)",
        only(tmp_path).verdict.reason,
    )


@pytest.mark.parametrize(("shift", "ok"), [(0.04, True), (0.055, True), (0.2, False)])
def test_find_series_judges_uneven_spacing_by_the_larger_tolerance(
    tmp_path: Path, shift: float, ok: bool
) -> None:
    steps = STEP * np.arange(6.0)
    steps[3] += shift
    build_series(tmp_path, 6, steps=steps)
    verdict = only(tmp_path).verdict
    assert verdict.ok == ok
    assert ok or re.search(r"uneven slice spacing: 5\.8 to 6\.2 mm, IM0003\.dcm", verdict.reason)


def test_find_series_refuses_a_drift_that_no_single_step_shows(tmp_path: Path) -> None:
    steps = np.cumsum([0.0, *[1.0] * 20, *[1.02] * 20])
    build_series(tmp_path, 41, pixels=real_pixels(41), steps=steps)
    assert "uneven slice spacing" in only(tmp_path).verdict.reason


@pytest.mark.parametrize(("difference", "ok"), [(1e-5, True), (0.05, False)])
def test_find_series_accepts_rounded_orientations_only(tmp_path: Path, difference: float, ok: bool) -> None:
    def edit(ds, k):
        ds.ImageOrientationPatient = [1, difference * (k % 2), 0, -difference * (k % 2), 1, 0]

    build_series(tmp_path, 6, edit=edit)
    scans, _ = find_series(tmp_path.iterdir())
    assert len(scans) == (1 if ok else 2)


def test_find_series_refuses_tilt_with_its_angle(tmp_path: Path) -> None:
    def edit(ds, k):
        shift = np.tan(np.radians(12.5)) * STEP * k
        ds.ImagePositionPatient = [ORIGIN[0], round(ORIGIN[1] + shift, 6), ORIGIN[2] + STEP * k]

    build_series(tmp_path, edit=edit)
    assert "gantry tilt: the slices shift 12.5 degrees" in only(tmp_path).verdict.reason


def test_find_series_leaves_localizers_out(tmp_path: Path) -> None:
    def edit(ds, k):
        if k == 0:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    build_series(tmp_path, 6, edit=edit)
    scans, left_out = find_series(tmp_path.iterdir())
    assert [scan.shape[0] for scan in scans] == [5]
    assert left_out == [(tmp_path / "IM0000.dcm", "localizer; give the series that it plans")]
    assert any("localizer" in note for note in scans[0].verdict.notes)


def test_find_series_leaves_a_stray_orientation_out(tmp_path: Path) -> None:
    build_series(tmp_path)
    build_series(tmp_path, 1, orientation=CORONAL, names=["scout.dcm"])
    scans, left_out = find_series(tmp_path.iterdir())
    assert [scan.shape[0] for scan in scans] == [5]
    assert left_out[0][0].name == "scout.dcm"
    assert "a single slice of" in left_out[0][1]


@pytest.mark.parametrize(
    ("tag", "values"),
    [("EchoNumbers", (1, 2)), ("TemporalPositionIdentifier", (1, 2)), ("DiffusionBValue", (0.0, 1000.0))],
)
def test_find_series_splits_contrasts_of_one_series(tmp_path: Path, tag: str, values: tuple) -> None:
    for part, value in enumerate(values):
        build_series(
            tmp_path,
            4,
            modality="MR",
            names=[f"{part}-{k}" for k in range(4)],
            edit=lambda ds, k, value=value: setattr(ds, tag, value),
        )
    scans, _ = find_series(tmp_path.iterdir())
    assert [scan.shape[0] for scan in scans] == [4, 4]
    assert scans[0].series_uid == scans[1].series_uid
    assert scans[0].facts["split"] != scans[1].facts["split"]
    assert all(any(tag in note for note in scan.verdict.notes) for scan in scans)


def test_find_series_splits_phases_that_only_acquisition_numbers_tell_apart(tmp_path: Path) -> None:
    for phase in (1, 2, 3):
        build_series(
            tmp_path,
            4,
            names=[f"{phase}-{k}" for k in range(4)],
            edit=lambda ds, k, phase=phase: setattr(ds, "AcquisitionNumber", phase),
        )
    scans, _ = find_series(tmp_path.iterdir())
    assert [scan.facts["split"] for scan in scans] == [f"AcquisitionNumber {n}" for n in (1, 2, 3)]


def test_find_series_keeps_a_key_that_counts_slices_together(tmp_path: Path) -> None:
    build_series(tmp_path, edit=lambda ds, k: setattr(ds, "TemporalPositionIdentifier", k + 1))
    assert only(tmp_path).shape[0] == 5


def test_find_series_tells_two_series_of_a_folder_apart(tmp_path: Path) -> None:
    build_series(tmp_path / "all", 5)
    build_series(tmp_path / "all", 4, modality="MR", names=[f"m{k}" for k in range(4)])
    scans, _ = find_series((tmp_path / "all").iterdir())
    assert {(scan.modality, scan.shape[0]) for scan in scans} == {("CT", 5), ("MR", 4)}
    assert len({scan.series_uid for scan in scans}) == 2


def test_find_series_accepts_no_frame_of_reference(tmp_path: Path) -> None:
    build_series(tmp_path, edit=lambda ds, k: delattr(ds, "FrameOfReferenceUID"))
    assert "no FrameOfReferenceUID" in only(tmp_path).verdict.notes
    assert only(tmp_path).verdict.ok


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_find_series_refuses_slices_without_geometry(tmp_path: Path, tag: str) -> None:
    build_series(tmp_path, edit=lambda ds, k: delattr(ds, tag) if k == 1 else None)
    assert f"1 of 5 slices have no {tag} (IM0001.dcm)" in only(tmp_path).verdict.reason


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("SC_rgb_small_odd.dcm", "colour image (RGB)"),
        ("examples_palette.dcm", "palette colour image"),
        ("rtplan.dcm", "no image (RT Plan Storage)"),
        ("rtdose.dcm", "RT Dose Storage, not a scan"),
        ("rtstruct.dcm", "no image (RT Structure Set Storage)"),
        ("test-SR.dcm", "no image (Comprehensive SR Storage)"),
        ("rtplan_truncated.dcm", "no image (RT Plan Storage)"),
        ("waveform_ecg.dcm", "no image"),
        ("dicomdirtests/DICOMDIR", "DICOMDIR, an index"),
        ("MR_truncated.dcm", "truncated: 8130 of 8192 bytes of pixel data"),
    ],
)
def test_find_series_leaves_other_objects_out(file: str, reason: str) -> None:
    path = Path(get_testdata_file("CT_small.dcm", download=False)).parent / file
    scans, left_out = find_series([path])
    assert scans == []
    assert left_out[0][1].startswith(reason)
    assert re.search(r"; (give|export|fetch) \w+", left_out[0][1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file; fetch it again"),
        (b"Thumbs", "not DICOM; fetch it again if it should be an image"),
        (b"\xd0\xcf\x11\xe0" * 400, "not DICOM; fetch it again if it should be an image"),
        (b"\0" * 128 + b"DICM", "empty or truncated header; fetch it again"),
    ],
)
def test_find_series_leaves_junk_out(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "junk.dcm"
    path.write_bytes(content)
    assert find_series([path]) == ([], [(path, reason)])


def test_find_series_says_that_a_file_has_no_pixel_data(tmp_path: Path) -> None:
    paths = build_series(tmp_path, 3, edit=lambda ds, k: delattr(ds, "PixelData") if k == 2 else None)
    scans, left_out = find_series(paths)
    assert left_out == [(paths[2], "no pixel data; export it with its pixels")]
    assert scans[0].shape[0] == 2


def test_find_series_reports_what_it_may_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build_series(tmp_path, 1)[0]

    def denied(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    assert find_series([path]) == ([], [(path, "may not be read: permission denied; grant access to it")])
    assert not is_dicom(path)


def test_find_series_survives_every_damage(tmp_path: Path) -> None:
    data = build_series(tmp_path / "good", 1)[0].read_bytes()
    rng = np.random.default_rng(3)
    path = tmp_path / "damaged.dcm"
    for trial in range(150):
        broken = bytearray(data[: int(rng.integers(0, 1400))] if trial % 2 else data)
        for place in rng.integers(0, max(min(len(broken), 1400), 1), 4):
            if broken:
                broken[int(place)] = int(rng.integers(256))
        path.write_bytes(broken)
        scans, left_out = find_series([path])
        assert len(scans) + len(left_out) >= 1


def test_find_series_names_a_missing_codec(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sr_imaging.io.dicom.reading.pixels.get_decoder", lambda syntax: SimpleNamespace(is_available=False)
    )
    scan = find_series([shared_data / "odd/dicom_nema_wg04/J2KR/MR1_J2KR"])[0][0]
    assert re.search(r"JPEG 2000.*pip install 'sr-imaging\[codecs\]'", scan.verdict.reason)


def test_find_series_takes_a_single_slice_with_its_stated_depth(tmp_path: Path) -> None:
    path = build_series(tmp_path, 1)[0]
    scan = only(tmp_path)
    assert (scan.path, scan.spacing) == (path, (5.0, *PIXEL))


def test_find_series_refuses_a_single_slice_without_depth(tmp_path: Path) -> None:
    build_series(tmp_path, 1, edit=lambda ds, k: delattr(ds, "SliceThickness"))
    assert "single slice without SliceThickness" in only(tmp_path).verdict.reason


def test_find_series_refuses_an_enhanced_file_without_frame_geometry(
    shared_data: Path, tmp_path: Path
) -> None:
    from pydicom import dcmread

    ds = dcmread(shared_data / "medical/dcm_mr_enhanced_multiframe/siemens_xa10_6_1.dcm")
    for groups in ds.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence
    ds.save_as(tmp_path / "e.dcm")
    assert "6 of 6 slices have no ImagePositionPatient" in only(tmp_path).verdict.reason


def test_scans_hold_no_patient_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_series(tmp_path, 5, edit=lambda ds, k: delattr(ds, "PixelSpacing") if k else None)
    scans, left_out = find_series(tmp_path.iterdir())
    assert "secret" not in f"{scans} {left_out} {caplog.text}".lower()


def test_is_dicom_knows_files_with_and_without_preamble(tmp_path: Path) -> None:
    implicit = Path(get_testdata_file("MR_small_implicit.dcm", download=False)).read_bytes()
    bare = tmp_path / "bare"
    bare.write_bytes(implicit[implicit.index(b"\x08\x00\x08\x00") :])
    assert is_dicom(bare)
    for name in ("CT_small.dcm", "ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm"):
        assert is_dicom(Path(get_testdata_file(name, download=False)))


def test_is_dicom_is_false_for_other_files(tmp_path: Path) -> None:
    assert not is_dicom(tmp_path)
    assert not is_dicom(tmp_path / "absent")
    for k, content in enumerate(
        (b"", b"\x08", b"II*\0" + b"\0" * 200, b"some text " * 40, b"\x5c\x01" * 200)
    ):
        (tmp_path / str(k)).write_bytes(content)
        assert not is_dicom(tmp_path / str(k))


def test_find_series_reads_headers_of_many_files_quickly(tmp_path: Path) -> None:
    build_series(tmp_path, 100, pixels=np.zeros((100, *SHAPE), np.int16))
    start = time.perf_counter()
    assert only(tmp_path).verdict.ok
    assert time.perf_counter() - start < 2  # ten times the usual pace: machines are busy


def test_find_series_refuses_directions_that_are_no_right_angle(tmp_path: Path) -> None:
    build_series(tmp_path, edit=lambda ds, k: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 0.3, 1, 0]))
    assert "not two right-angled unit vectors" in only(tmp_path).verdict.reason


def test_find_series_splits_two_matrices(tmp_path: Path) -> None:
    def edit(ds, k):
        if k >= 3:
            set_pixels(ds, real_pixels(1, (16, 24))[0], bits=12)

    build_series(tmp_path, 6, edit=edit)
    scans, _ = find_series(tmp_path.iterdir())
    assert [scan.shape for scan in scans] == [(3, *SHAPE), (3, 16, 24)]
    assert all("matrix" in scan.facts["split"] for scan in scans)
    assert AXIAL[0] == 1


def test_find_series_splits_frames_of_reference(tmp_path: Path) -> None:
    def edit(ds, k):
        if k >= 3:
            ds.FrameOfReferenceUID = "1.2.3.4"

    build_series(tmp_path, 6, edit=edit)
    scans, _ = find_series(tmp_path.iterdir())
    assert [scan.shape[0] for scan in scans] == [3, 3]


def test_find_series_skips_folders_and_repeated_paths(tmp_path: Path) -> None:
    paths = build_series(tmp_path)
    (tmp_path / "sub").mkdir()
    scans, left_out = find_series([*tmp_path.iterdir(), *paths])
    assert left_out == []
    assert [scan.files for scan in scans] == [tuple(paths)]


def test_slice_cut_in_its_header_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_series(tmp_path)
    last = tmp_path / "IM0004.dcm"
    last.write_bytes(last.read_bytes()[:600])
    (scan,) = find_scans(tmp_path)
    assert len(scan.files) == 4
    assert "IM0004.dcm: damaged or truncated header" in caplog.text


def test_notes_name_left_out_files_of_their_own_series_alone(tmp_path: Path) -> None:
    paths = build_series(tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:-50])
    build_series(tmp_path, 3, modality="MR", names=["m0", "m1", "m2"])
    (tmp_path / "empty").touch()
    notes = {scan.modality: " ".join(scan.verdict.notes) for scan in find_series(tmp_path.iterdir())[0]}
    assert "IM0004.dcm left out: truncated" in notes["CT"]
    assert "left out" not in notes["MR"]


def test_phase_image_is_told_to_wrap(shared_data: Path) -> None:
    (scan,) = find_series((shared_data / "medical/dcm_mr_phase_siemens_trio").iterdir())[0]
    assert scan.verdict.ok
    assert any("a phase image: its values wrap around" in note for note in scan.verdict.notes)


def test_magnitude_image_is_not_told_to_wrap(shared_data: Path) -> None:
    (scan,) = find_series((shared_data / "medical/dcm_mr_pd_ge_axial_oblique").iterdir())[0]
    assert not any("phase" in note for note in scan.verdict.notes)


def test_series_in_two_folders_is_told_in_both_verdicts(tmp_path: Path) -> None:
    for k, path in enumerate(build_series(tmp_path / "A", 7)):
        if k >= 4:
            (tmp_path / "B").mkdir(exist_ok=True)
            path.rename(tmp_path / "B" / path.name)
    first, second = find_scans(tmp_path)
    assert (first.shape[0], second.shape[0]) == (4, 3)
    assert "lies in 2 folders: 3 more slices fit" in str(first.verdict)
    assert "lies in 2 folders: 4 more slices fit" in str(second.verdict)


def test_copies_of_a_series_in_two_folders_stand_alone(tmp_path: Path) -> None:
    for name in ("A", "B"):
        build_series(tmp_path / name, 4)
    assert [str(scan.verdict) for scan in find_scans(tmp_path)] == ["ok", "ok"]
