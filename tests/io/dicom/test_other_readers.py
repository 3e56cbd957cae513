"""Every real series beside dcm2niix and highdicom: the same place and values, or a verdict that says why."""

import re
import subprocess
from pathlib import Path
from typing import Any

import dcm2niix
import highdicom
import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from sr_imaging import Scan, find_scans, read
from sr_imaging.image.grid.volumes import affine as grid_affine

MM = 1e-3  # how well the peers' affines must agree: dcm2niix keeps float32
RELATIVE = 1e-6  # of float values: peers multiply in float32 or with a slope of float32; whole numbers: none
NEMA = "odd/dicom_nema_wg04"
DERIVED = "odd/dicom_derived_series"

# What dcm2niix makes of a scan. SAME: our grid and values. A pattern: it is silently wrong, and our verdict
# says why. NONE: it cannot decode the scan, and says so itself.
# JITTER: positions off the even grid by 0.015 mm, and it takes another even grid through them.
SAME, NONE, JITTER = "same", "none", "jitter"
JITTER_MM = 0.02
DCM2NIIX = {
    "medical/dcm_ct_body_siemens_mct_jpeg2000": [SAME],
    "medical/dcm_ct_head_ge_tilt_varspacing": ["gantry tilt.*uneven"],
    "medical/dcm_mr_enhanced_multiframe": [SAME] * 6,
    "medical/dcm_mr_pd_ge_axial_oblique": ["the first two alone would misplace the last one by 1.6 mm"],
    "medical/dcm_mr_phase_siemens_trio": [SAME],
    "medical/dcm_mr_t1_philips_elition_oblique": [SAME],
    "medical/dcm_mr_transfer_syntaxes_siemens": [SAME] * 9,
    "odd/dicom_broken_series/slicecount/001": [SAME],
    "odd/dicom_broken_series/sliceincrement/002": ["gantry tilt.*1 slice is missing"],
    "odd/dicom_broken_series/sliceorientation/001": [SAME, SAME],
    f"{DERIVED}/duplicate_position": ["IM0009.dcm dropped, an identical copy of IM0005.dcm"],
    f"{DERIVED}/missing_slice": ["1 slice is missing"],
    f"{DERIVED}/mixed_two_series": [SAME, SAME],
    f"{DERIVED}/no_pixelspacing": ["no PixelSpacing"],
    f"{DERIVED}/no_position": ["no ImagePositionPatient"],
    f"{DERIVED}/nonsquare_pixels": [SAME],
    f"{DERIVED}/ok_reference": [SAME],
    f"{DERIVED}/one_slice_other_matrix": ["1 slice is missing.*single slice of matrix"],
    f"{DERIVED}/one_truncated": ["1 slice is missing.*truncated"],
    f"{DERIVED}/per_slice_rescale": [SAME],
    f"{DERIVED}/shuffled_names_no_extension": [SAME],
    f"{DERIVED}/spacing_jitter_1pct": [JITTER],
    f"{DERIVED}/with_foreign_files": [SAME],
    f"{DERIVED}/wrong_slicethickness": [SAME],
    # CT1, CT2, MR1, MR3, and NM1, a scintigram
    **{
        f"{NEMA}/{name}": [SAME] * 4 + ["no ImagePositionPatient"] for name in ("J2KI", "J2KR", "JPLL", "RLE")
    },
    f"{NEMA}/JLSL": [NONE] * 4 + ["no ImagePositionPatient"],
    f"{NEMA}/JLSN": [NONE, SAME, NONE, SAME, "no ImagePositionPatient"],
    f"{NEMA}/JPLY": [NONE, NONE, "no ImagePositionPatient"],
}
# What highdicom does not accept of what we read; SAME of all the rest.
HIGHDICOM_REFUSES = {
    "medical/dcm_ct_body_siemens_mct_jpeg2000": "No IOD found",
    "medical/dcm_mr_enhanced_multiframe/philips_IM_0027_fMAP.dcm": "not found in DICOM dictionary",
    "medical/dcm_mr_pd_ge_axial_oblique": "not a regularly-spaced volume",
    "medical/dcm_mr_transfer_syntaxes_siemens": "a mosaic is one slice for it",
    "odd/dicom_broken_series/slicecount/001": "no frame of reference",
    "odd/dicom_broken_series/sliceorientation/001": "no frame of reference",
    f"{DERIVED}/spacing_jitter_1pct": "not a regularly-spaced volume",
    f"{NEMA}/JPLY": "Unable to decode",
}

Volume = tuple[np.ndarray, np.ndarray]  # values (z, y, x), affine


def dicom_scans(folder: Path) -> list[Scan]:
    return [scan for scan in find_scans(folder) if scan.kind == "dicom"]


def ours(scan: Scan) -> Volume:
    da = read(scan)
    return da.values, grid_affine(da)


def like(volume: Volume, affine: np.ndarray) -> Volume:
    """Turn the axes of a peer's volume round where they run against ours."""
    values, matrix = volume[0], volume[1].copy()
    for axis in range(3):
        if matrix[:3, axis] @ affine[:3, axis] < 0:
            matrix[:3, 3] += matrix[:3, axis] * (values.shape[axis] - 1)
            matrix[:3, axis] *= -1
            values = np.flip(values, axis)
    return values, matrix


def agree(values: np.ndarray, others: np.ndarray) -> bool:
    if values.shape != others.shape:
        return False
    if values.dtype.kind in "iu":
        return np.array_equal(values, others)
    return np.allclose(values, others, rtol=RELATIVE, atol=RELATIVE * np.abs(values).max())


def from_dcm2niix(folder: Path, target: Path) -> list[Volume]:
    """All volumes that dcm2niix makes of a folder: uncompressed, neither cropped nor turned.

    ``-p n`` gives Philips values by RescaleSlope as everyone else's, but one slope for all slices, so both.
    """
    for philips in "yn":
        options = ["-z", "n", "-b", "n", "-x", "i", "-p", philips, "-f", f"{philips}_%s_%d_%r"]
        command = [dcm2niix.bin, *options, "-o", str(target), str(folder)]
        subprocess.run(command, capture_output=True, check=False, timeout=60)
    volumes = []
    for path in sorted(target.glob("*.nii")):
        image: Any = nibabel.load(path)
        values = np.atleast_3d(np.asarray(image.dataobj)).T
        volumes.append((values, (np.diag([-1, -1, 1, 1]) @ image.affine)[:, [2, 1, 0, 3]]))
    return volumes


def from_highdicom(scan: Scan) -> Volume:
    header = dcmread(scan.files[0], stop_before_pixels=True)
    if "PerFrameFunctionalGroupsSequence" in header:
        volume = highdicom.imread(scan.files[0]).get_volume(apply_modality_transform=None)
    else:
        files = [dcmread(path) for path in scan.files]
        volume = highdicom.get_volume_from_series(files, apply_modality_transform=None)
    return volume.array, volume.affine


@pytest.mark.parametrize("folder", DCM2NIIX)
def test_series_agrees_with_dcm2niix_or_its_verdict_says_why(
    shared_data: Path, tmp_path: Path, folder: str
) -> None:
    scans, peers = dicom_scans(shared_data / folder), from_dcm2niix(shared_data / folder, tmp_path)
    told = DCM2NIIX[folder]
    series = [scan for scan in scans if not str(scan.verdict.reason).endswith("fetch it again")]
    assert len(series) == len(told)
    for scan, expected in zip(series, told, strict=True):
        if expected not in (SAME, NONE, JITTER):
            assert re.search(expected, str(scan.verdict))
            if not scan.verdict.ok:
                continue
        values, affine = ours(scan)
        turned = [like(peer, affine) for peer in peers if peer[0].ndim == 3]
        shifts = [np.abs(matrix - affine).max() for others, matrix in turned if agree(values, others)]
        nearest = min(shifts, default=np.inf)
        assert (nearest < MM) == (expected == SAME)
        assert (MM <= nearest < JITTER_MM) == (expected == JITTER)


@pytest.mark.parametrize("folder", DCM2NIIX)
def test_series_agrees_with_highdicom_where_it_accepts_it(shared_data: Path, folder: str) -> None:
    for scan in dicom_scans(shared_data / folder):
        name = scan.path.relative_to(shared_data).as_posix()
        if not scan.verdict.ok or any(name.startswith(start) for start in HIGHDICOM_REFUSES):
            continue
        values, affine = ours(scan)
        others, matrix = like(from_highdicom(scan), affine)
        used = slice(0, 4) if len(values) > 1 else slice(1, 4)  # one slice: it takes any depth for it
        np.testing.assert_allclose(affine[:, used], matrix[:, used], atol=MM)
        assert agree(values, others)


@pytest.mark.parametrize("start", HIGHDICOM_REFUSES)
def test_highdicom_refuses_what_is_listed(shared_data: Path, start: str) -> None:
    scans = [scan for scan in dicom_scans(shared_data / start) if scan.verdict.ok]
    assert scans
    for scan in scans:
        values, affine = ours(scan)
        try:
            others, _ = like(from_highdicom(scan), affine)
        except (KeyError, RuntimeError, ValueError):
            continue
        assert "mosaic" in HIGHDICOM_REFUSES[start]
        assert others.shape != values.shape


def test_expectations_name_every_series(shared_data: Path) -> None:
    roots = [*shared_data.glob("medical/dcm_*"), *shared_data.glob("odd/dicom_*")]
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    folders = {path.parent.relative_to(shared_data).as_posix() for path in files if path.name != "SOURCE.txt"}
    assert folders == set(DCM2NIIX)


def test_straightened_tilt_lies_where_dcm2niix_puts_it(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "medical/dcm_ct_head_ge_tilt_varspacing"
    for number in range(8, 15):  # the slices of one spacing
        (tmp_path / f"{number}.dcm").write_bytes((source / f"{number:02d}.dcm").read_bytes())
    da = read(tmp_path, on_tilt="resample")
    affine = grid_affine(da)
    (tmp_path / "out").mkdir()
    straight = [like(peer, affine) for peer in from_dcm2niix(tmp_path, tmp_path / "out")]
    others, matrix = next(peer for peer in straight if peer[0].shape == da.shape)
    np.testing.assert_allclose(affine, matrix, atol=MM)
    inner = (da.values > -1000) & (others > -1000)  # its padding is another value, and mixed into the border
    assert inner.mean() > 0.3
    assert np.abs(da.values.astype(int) - others)[inner].max() <= 1  # it rounds down, we round to nearest
