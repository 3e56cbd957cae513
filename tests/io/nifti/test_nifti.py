"""NIfTI: voxels land where the header says, and return there."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import xarray as xr

from sr_imaging import ReadError, WriteError, find_scans, read, write
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.grid.refinement import refine
from sr_imaging.image.grid.volumes import affine, volume

OBLIQUE = np.array([[1.9, 0.3, -0.2, -31.0], [-0.25, 1.4, 0.6, 12.5], [0.3, -0.35, 2.8, 40.0], [0, 0, 0, 1]])
SHAPE = (7, 5, 4)  # i, j, k
DERIVED = "odd/nifti_derived"


def make_nifti(path: Path, values: np.ndarray, matrix: np.ndarray = OBLIQUE, **fields: Any) -> Path:
    """Write values in the file's index order with nibabel alone."""
    image = nibabel.Nifti1Image(values, matrix)
    for key, value in fields.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def voxels(shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(3).integers(0, 100, shape).astype(dtype)


def placed(dtype: str = "int16", lead: tuple[int, ...] = ()) -> xr.DataArray:
    """A volume (…, 4, 5, 7) on an oblique grid of 3.5, 1.75 and 2 mm."""
    turn = np.linalg.qr(OBLIQUE[:3, :3])[0]
    matrix = np.eye(4)
    matrix[:3, :3] = turn * (3.5, 1.75, 2.0)
    matrix[:3, 3] = (-10.5, 20.25, 33.0)
    return volume(voxels((*lead, 4, 5, 7), dtype), matrix, spacing=(3.5, 1.75, 2.0))


def test_index_and_place_are_those_of_nibabel(tmp_path: Path) -> None:
    values = voxels()
    da = read(make_nifti(tmp_path / "a.nii", values))
    assert da.dims == ("z", "y", "x")
    assert da.values[3, 1, 6] == values[6, 1, 3]
    ras = nibabel.load(tmp_path / "a.nii").affine @ (6, 1, 3, 1)
    assert affine(da) @ (3, 1, 6, 1) == pytest.approx([-ras[0], -ras[1], ras[2], 1])


@pytest.mark.parametrize(
    "name", ["left_handed", "permuted_axes_ILA", "qform_sform_differ", "nifti2", "big_endian"]
)
def test_voxel_places_are_those_of_nibabel_on_odd_files(shared_data: Path, name: str) -> None:
    path = shared_data / DERIVED / f"{name}.nii.gz"
    da, image = read(path), nibabel.load(path)
    assert np.array_equal(da.values, np.asarray(image.dataobj).T)
    wanted = np.diag([-1, -1, 1, 1]) @ image.affine @ (5, 2, 9, 1)
    assert affine(da) @ (9, 2, 5, 1) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "name",
    [
        "medical/mr_ms_2d_dev/patient20_study2_FLAIR.nii.gz",
        "medical/mr_t1_colin27/ch2.nii.gz",
        "medical/ct_small_nifti/sub-spleen2_ct.nii.gz",
        *(
            f"{DERIVED}/{name}.nii.gz"
            for name in ("shape_2d", "shape_4d_3vols", "shape_single_slice", "tiny_2x2x2")
        ),
        *(f"{DERIVED}/{name}.nii.gz" for name in ("sheared_sform", "left_handed", "float64", "float32_nan")),
        *(f"{DERIVED}/{name}.nii.gz" for name in ("slope_inter", "no_qform_no_sform", "uint16", "int32")),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_write_restores_what_was_read(shared_data: Path, tmp_path: Path, name: str, suffix: str) -> None:
    da = read(shared_data / name)
    again = read(write(da, tmp_path / f"copy{suffix}"))
    xr.testing.assert_identical(again, da)
    assert again.dtype == da.dtype


def test_other_software_sees_the_written_volume_at_its_place(tmp_path: Path) -> None:
    da = placed()
    image = SimpleITK.ReadImage(str(write(da, tmp_path / "a.nii.gz")))
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), da.values)
    wanted = (affine(da) @ (3, 1, 6, 1))[:3]
    assert image.TransformIndexToPhysicalPoint((6, 1, 3)) == pytest.approx(tuple(wanted), abs=1e-5)  # float32


def test_both_forms_are_written_as_scanner_space(tmp_path: Path) -> None:
    header = nibabel.load(write(placed(), tmp_path / "a.nii")).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_sform() == pytest.approx(header.get_qform(), abs=1e-5)
    assert header.get_zooms() == (2.0, 1.75, 3.5)
    assert header.get_xyzt_units()[0] == "mm"


def test_sheared_volume_gets_no_qform_that_contradicts(shared_data: Path, tmp_path: Path) -> None:
    da = read(shared_data / DERIVED / "sheared_sform.nii.gz")
    assert int(nibabel.load(write(da, tmp_path / "a.nii")).header["qform_code"]) == 0


def test_space_of_the_file_is_kept(shared_data: Path, tmp_path: Path) -> None:
    da = read(shared_data / "medical/mr_t1_colin27/ch2.nii.gz")
    assert da.coords["volume_ref"].attrs["space"] == "mni"
    assert int(nibabel.load(write(da, tmp_path / "a.nii")).header["sform_code"]) == 4


def test_refined_volume_keeps_its_outer_edges(tmp_path: Path) -> None:
    da = placed("float32")
    fine = refine(da, da.values.repeat(5, 0), {"z": 5})
    again = read(write(fine, tmp_path / "fine.nii"))
    for corner, small in ((-0.5, -0.5), (3.5, 19.5)):
        before = affine(da) @ (corner, 0, 0, 1)
        assert affine(again) @ (small, 0, 0, 1) == pytest.approx(before, abs=1e-5)  # float32 in the file


def test_attrs_and_modality_survive(tmp_path: Path) -> None:
    da = placed().assign_attrs(
        units="HU", history="2024 upscaled", sr_scale=(5.0, 1.0, 1.0), description="liver"
    )
    da.attrs["_FillValue"] = np.int16(-1024)
    da.coords["volume_ref"].attrs.update(modality="CT", slice_thickness=5.0)
    again = read(write(da, tmp_path / "a.nii.gz"))
    assert again.attrs == da.attrs
    assert again.coords["volume_ref"].attrs["modality"] == "CT"
    assert again.coords["volume_ref"].attrs["slice_thickness"] == 5.0
    assert bytes(nibabel.load(tmp_path / "a.nii.gz").header["descrip"]).rstrip(b"\0") == b"liver"


def test_foreign_extensions_are_passed_over(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), OBLIQUE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b'["not ours"]'))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("afni", b"<AFNI/>"))
    nibabel.save(image, tmp_path / "a.nii")
    da = read(tmp_path / "a.nii")
    assert da.attrs == {}
    assert np.array_equal(da.values, voxels().T)


@pytest.mark.parametrize(
    ("slope", "inter", "dtype"),
    [(1, 0, "int16"), (2, -1024, "int16"), (400, 7, "int32"), (0.5, 0, "float32"), (1, 0.25, "float32")],
)
def test_whole_slopes_keep_integers(tmp_path: Path, slope: float, inter: float, dtype: str) -> None:
    path = make_nifti(tmp_path / "a.nii", voxels())
    with path.open("r+b") as file:
        file.seek(112)  # scl_slope, scl_inter
        file.write(np.array([slope, inter], np.float32).tobytes())
    da = read(path)
    assert da.dtype == dtype
    assert np.array_equal(da.values, (voxels().astype(np.float64) * slope + inter).T)


@pytest.mark.parametrize(("code", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_lengths_become_millimetres(tmp_path: Path, code: int, factor: float) -> None:
    da = read(make_nifti(tmp_path / "a.nii", voxels(), np.diag([2.0, 3.0, 5.0, 1.0]), xyzt_units=code))
    assert spacing(da) == pytest.approx({"z": 5 * factor, "y": 3 * factor, "x": 2 * factor})
    assert da.coords["x"].attrs["units"] == "mm"


def test_qform_places_where_there_is_no_sform(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(voxels(), None)
    turn = np.array([[0, -2.0, 0, 5], [3.0, 0, 0, 6], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    image.set_qform(turn, 1)
    image.set_sform(None, 0)
    nibabel.save(image, path)
    lps = np.diag([-1, -1, 1, 1]) @ turn
    assert affine(read(path)) @ (2, 3, 1, 1) == pytest.approx(lps @ (1, 3, 2, 1), abs=1e-5)


def test_file_without_place_gets_spacing_only_and_a_note(shared_data: Path) -> None:
    path = shared_data / DERIVED / "no_qform_no_sform.nii.gz"
    (scan,) = find_scans(path)
    assert "no place in the world" in scan.verdict.notes[0]
    da = read(path)
    assert "volume_ref" not in da.coords
    assert spacing(da) == {"z": 1.0, "y": 1.0, "x": 1.0}


def test_contradicting_forms_are_noted(shared_data: Path) -> None:
    (scan,) = find_scans(shared_data / DERIVED / "qform_sform_differ.nii.gz")
    assert scan.verdict.notes == ("sform and qform differ by up to 50 mm; sform is used",)


def test_time_step_is_kept_in_seconds(tmp_path: Path) -> None:
    path = make_nifti(tmp_path / "a.nii", voxels((7, 5, 4, 3)), xyzt_units=2 + 16)
    with path.open("r+b") as file:
        file.seek(76 + 16)  # pixdim[4]
        file.write(np.array([2500], np.float32).tobytes())
    da = read(path)
    assert da.dims == ("time", "z", "y", "x")
    assert da.coords["time"].values.tolist() == [0.0, 2.5, 5.0]
    xr.testing.assert_identical(read(write(da, tmp_path / "b.nii")), da)


def test_slice_is_written_where_it_was_cut(tmp_path: Path) -> None:
    da = placed()
    again = read(write(da.isel(z=2), tmp_path / "a.nii"))
    assert again.dims == ("y", "x")
    assert affine(again) @ (0, 1, 3, 1) == pytest.approx(affine(da) @ (2, 1, 3, 1), abs=1e-5)


@pytest.mark.parametrize("chunks", [{"z": 2}, {"z": 3, "y": 2, "x": 4}])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_dask_and_numpy_give_the_same_bytes(
    tmp_path: Path, chunks: dict[str, int], lead: tuple[int, ...]
) -> None:
    da = placed("uint16", lead)
    plain = write(da, tmp_path / "numpy.nii.gz").read_bytes()
    assert write(da.chunk(chunks), tmp_path / "dask.nii.gz").read_bytes() == plain


def test_long_axis_is_written_as_nifti_2(tmp_path: Path) -> None:
    da = volume(np.zeros((2, 3, 40_000), np.uint8), np.eye(4)[[2, 1, 0, 3]])
    path = write(da, tmp_path / "a.nii")
    assert isinstance(nibabel.load(path), nibabel.Nifti2Image)
    xr.testing.assert_identical(read(path), da.assign_coords(volume_ref=read(path).volume_ref))


@pytest.mark.parametrize(("dtype", "stored"), [("bool", "uint8"), ("float16", "float32"), ("int64", "int64")])
def test_dtypes_are_widened_without_loss(tmp_path: Path, dtype: str, stored: str) -> None:
    da = placed().astype(dtype)
    again = read(write(da, tmp_path / "a.nii"))
    assert again.dtype == stored
    assert np.array_equal(again.values.astype(dtype), da.values)


def test_huge_claim_of_a_compressed_file_allocates_nothing(tmp_path: Path) -> None:
    path = make_nifti(tmp_path / "a.nii", voxels())
    data = bytearray(path.read_bytes())
    data[40:56] = np.array([3, 32767, 32767, 32767, 1, 1, 1, 1], np.int16).tobytes()
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(ReadError, match=r"is cut short: voxels \(32767, 32767, 32767\)"):
        read(bad)


def test_five_dims_are_refused(tmp_path: Path) -> None:
    path = make_nifti(tmp_path / "a.nii", voxels((3, 4, 2, 2, 3)))
    with pytest.raises(ReadError, match=r"has 5 dims \(3, 4, 2, 2, 3\); split it"):
        read(path)


def test_pair_without_its_image_is_refused(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "alone.hdr"
    path.write_bytes((shared_data / DERIVED / "pair.hdr").read_bytes())
    with pytest.raises(ReadError, match=r"needs alone.img beside it"):
        read(path)


@pytest.mark.parametrize(
    ("da", "message"),
    [
        (placed().rename(x="u"), r"NIfTI holds \(\[time,\] z, y, x\)"),
        (placed().expand_dims(("a", "b")), r"NIfTI holds \(\[time,\] z, y, x\)"),
        (placed().astype(complex), r"cannot hold complex128"),
        (placed().assign_coords(spatial_ref=0), r"raster of the earth has no place in NIfTI"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, da: xr.DataArray, message: str) -> None:
    with pytest.raises(WriteError, match=message):
        write(da, tmp_path / "a.nii")
    assert list(tmp_path.iterdir()) == []


def test_masked_padding_returns_as_padding(tmp_path: Path) -> None:
    da = placed()
    da.attrs["_FillValue"] = np.int16(int(da.values[0, 0, 0]))
    stored = read(write(da, tmp_path / "a.nii"))
    masked = read(tmp_path / "a.nii", masked=True)
    assert np.isnan(masked.values[0, 0, 0])
    xr.testing.assert_identical(read(write(masked, tmp_path / "b.nii")), stored)


REAL_TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


@pytest.mark.parametrize("dtype", REAL_TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_every_real_type_is_read_and_written_exactly(
    tmp_path: Path, dtype: str, order: str, kind: Any
) -> None:
    ends = np.finfo(dtype) if dtype[0] == "f" else np.iinfo(dtype)
    values = voxels().astype(dtype)
    values[0, 0, :2] = ends.min, ends.max
    header = kind.header_class(endianness=order)
    header.set_data_dtype(dtype)
    image = kind(values, OBLIQUE, header)
    nibabel.save(image, tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").header.endianness == order
    da = read(tmp_path / "a.nii")
    assert da.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(da.values, values.T)
    again = read(write(da, tmp_path / "b.nii.gz"))
    assert again.dtype == da.dtype
    np.testing.assert_array_equal(again.values, da.values)
    np.testing.assert_allclose(affine(again), affine(da), rtol=1e-6)  # float32 in NIfTI-1


@pytest.mark.parametrize("label", ["complex64", "complex128", "RGB", "RGBA", "float128", "complex256"])
def test_type_that_is_no_real_number_is_refused_by_name(tmp_path: Path, label: str) -> None:
    path = make_nifti(tmp_path / "a.nii", voxels())
    data = bytearray(path.read_bytes())
    data[70:72] = int(nibabel.nifti1.data_type_codes.code[label]).to_bytes(2, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(ReadError, match=rf"holds {label} values; export real numbers of at most 64 bits"):
        read(path)


def test_qform_of_a_left_handed_file_flips_the_third_axis(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), None)
    image.set_qform(np.array([[2.0, 0, 0, 5], [0, 3.0, 0, 6], [0, 0, -4.0, 7], [0, 0, 0, 1]]), 1)
    image.set_sform(None, 0)
    assert image.header["pixdim"][0] == -1
    nibabel.save(image, tmp_path / "a.nii")
    matrix = affine(read(tmp_path / "a.nii"))
    assert matrix @ (1, 0, 0, 1) == pytest.approx([-5, -6, 3, 1], abs=1e-5)
