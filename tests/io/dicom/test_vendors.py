"""Series derived from scans of four makers, in every orientation, as three readers and dciodvfy see them.

The files are real; where a maker's scans do not have an orientation, theirs are turned: the header and
pixels of a real slice, with position and orientation of another plane.
"""

import shutil
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
import xarray as xr
from helpers.derived_series import dciodvfy_errors, refined, scan_of
from helpers.dicom_series import AXIAL, CORONAL, OBLIQUE, SAGITTAL, set_pixels
from pydicom import dcmread, dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from sr_imaging import Scan
from sr_imaging.image.grid.volumes import affine
from sr_imaging.io.dicom.checking.series import check_scans
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom
from sr_imaging.io.dicom.reading.series import read_series
from sr_imaging.io.dicom.writing.series import write_series
from sr_imaging.io.scan import Check

MAKERS = {
    "GE CT": "medical/dcm_ct_head_ge_tilt_varspacing/*",
    "GE MR": "medical/dcm_mr_pd_ge_axial_oblique/*",
    "Siemens CT": "medical/dcm_ct_body_siemens_mct_jpeg2000/*",
    "Siemens MR": "medical/dcm_mr_phase_siemens_trio/*",
    "Philips MR": "medical/dcm_mr_t1_philips_elition_oblique/*",
    "Toshiba CT": "odd/dicom_nema_wg04/RLE/CT2_*",
    "Toshiba MR": "odd/dicom_nema_wg04/RLE/MR3_*",
}
PLANES = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": OBLIQUE}
SLICES, STEP, SHAPE = 4, 4.5, (24, 30)  # mm between slices


def turned(file: Path, folder: Path, orientation: tuple[float, ...]) -> None:
    """A series with the header of a real slice and crops of its pixels, in another plane."""
    normal = np.cross(orientation[:3], orientation[3:])
    folder.mkdir(parents=True)
    for k in range(SLICES):
        with quiet_pydicom():
            ds = dcmread(file, force=True)
            image = ds.pixel_array
            row, column = image.shape[0] // 2 - 12 + k, image.shape[1] // 2 - 15
            bits, sign = ds.BitsStored, ds.PixelRepresentation
            set_pixels(ds, image[row : row + SHAPE[0], column : column + SHAPE[1]], bits=bits)
            ds.PixelRepresentation = sign
            ds.ImageOrientationPatient = [float(v) for v in orientation]
            ds.ImagePositionPatient = [round(float(v), 9) for v in (5.5, -7, 11) + k * STEP * normal]
            ds.PixelSpacing, ds.SliceThickness = [0.9, 1.1], 4.0
            ds.InstanceNumber = k + 1
            uid = generate_uid(entropy_srcs=[str(file.name), str(k), str(orientation)])
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            for tag in (0x00180088, 0x00201041):  # spacing and location of the plane that it was
                ds.pop(tag, None)
            dcmwrite(folder / f"IM{k}.dcm", ds, enforce_file_format=True)


@pytest.fixture(
    scope="module",
    params=[(maker, plane) for maker in MAKERS for plane in PLANES],
    ids=lambda pair: f"{pair[0]}-{pair[1]}".replace(" ", ""),
)
def derived(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[xr.DataArray, Scan, Path]:
    """The refined volume, its source and the folder that it was written to."""
    maker, plane = request.param
    files = sorted(path for path in shared_data.glob(MAKERS[maker]) if path.suffix != ".txt")
    folder = tmp_path_factory.mktemp("turned")
    turned(files[len(files) // 2], folder / "in", PLANES[plane])
    source = scan_of(folder / "in")
    fine = refined(read_series(source), 3)
    write_series(fine, folder / "out", source)
    return fine, source, folder / "out"


def test_makers_are_read_right(derived: tuple) -> None:
    _, source, _ = derived
    assert source.verdict.ok
    assert source.spacing == (pytest.approx(STEP, abs=1e-8), 0.9, 1.1)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian package dicom3tools)")
def test_derived_series_adds_no_error_for_dciodvfy(derived: tuple) -> None:
    _, source, folder = derived
    known = {line for path in source.files for line in dciodvfy_errors(path)}
    for path in sorted(folder.iterdir())[::4]:
        assert dciodvfy_errors(path) - known == set()


def test_derived_series_passes_our_own_check(derived: tuple) -> None:
    _, source, folder = derived
    assert check_scans([source, scan_of(folder)])[1] == Check()


def test_derived_series_lies_in_place_for_three_readers(derived: tuple) -> None:
    fine, _, folder = derived
    matrix = affine(fine)
    back = read_series(scan_of(folder))
    np.testing.assert_allclose(affine(back), matrix, atol=1e-6)

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    files = [str(path) for path in sorted(folder.iterdir())]
    image = SimpleITK.ReadImage(files)
    corner = np.array(image.TransformIndexToPhysicalPoint((2, 5, 7)))
    np.testing.assert_allclose(corner, (matrix @ [7, 5, 2, 1])[:3], atol=1e-6)

    oracle = hd.get_volume_from_series([dcmread(path) for path in files])
    np.testing.assert_allclose(oracle.affine @ [0, 5, 2, 1], place(oracle, matrix, fine), atol=1e-6)


def place(oracle: hd.Volume, matrix: np.ndarray, fine: xr.DataArray) -> np.ndarray:
    """Where our first slice lies for highdicom, which may count slices the other way."""
    flipped = oracle.affine[:3, 0] @ matrix[:3, 0] < 0
    return np.asarray(matrix @ [fine.sizes["z"] - 1 if flipped else 0, 5, 2, 1])


def test_derived_values_are_the_same_for_three_readers(derived: tuple) -> None:
    fine, _, folder = derived
    back = read_series(scan_of(folder))
    slope = float(dcmread(folder / "IM_0001.dcm").get("RescaleSlope") or 1)
    half_a_step = 0.51 * slope if fine.dtype.kind == "f" else 0  # floats are rounded to stored numbers
    np.testing.assert_allclose(back.values, fine.values, rtol=1e-6, atol=half_a_step)
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage([str(p) for p in sorted(folder.iterdir())]))
    np.testing.assert_allclose(image, back.values, rtol=1e-6, atol=1e-3)
