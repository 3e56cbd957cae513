"""Malformed and unusual files end in a right array or a clear error: no crash, no hang, no traceback."""

import re
from pathlib import Path

import pytest

from sr_imaging import ReadError, Scan, find_scans, read

pytestmark = pytest.mark.timeout(30)

# A shape is what reading gives; a text is a pattern of our error.
GEOTIFF = {
    "geotiff_derived/band_interleaved_bigtiff_lzw.tif": (4, 150, 150),
    "geotiff_derived/different_epsg4326_negative.tif": (4, 150, 150),
    "geotiff_derived/empty.tif": r"is empty and is not DICOM, GeoTIFF",
    "geotiff_derived/float32_nan_nodata.tif": (4, 150, 150),
    "geotiff_derived/gcps_only_uint16.tif": (4, 150, 150),
    "geotiff_derived/int32_values_over_16bit.tif": (4, 150, 150),
    "geotiff_derived/internal_mask_uint8.tif": (3, 150, 150),
    "geotiff_derived/nonsquare_pixels_30x60.tif": (4, 75, 150),
    "geotiff_derived/one_pixel.tif": (4, 1, 1),
    "geotiff_derived/one_row.tif": (4, 1, 150),
    "geotiff_derived/rotated20deg_uint16.tif": (4, 150, 150),
    "geotiff_derived/rpc_uint16.tif": (1, 150, 150),
    "geotiff_derived/scale_offset_uint16.tif": (4, 150, 150),
    "geotiff_derived/south_up_int16.tif": (4, 150, 150),
    "geotiff_derived/text_named.tif": r"starts with b'this is not ' and is not DICOM, GeoTIFF",
    "geotiff_derived/truncated_half.tif": r"is cut short: block 1, 0 of band 3 ends at byte 61487",
    "geotiff_variants/RGB.byte.tif": (3, 718, 791),
    "geotiff_variants/all-nodata.tif": (4, 2475, 71),
    "geotiff_variants/alpha.tif": (4, 1223, 1223),
    "geotiff_variants/clp.tif": (2, 256, 256),
    "geotiff_variants/cog_cmap.tif": (1, 8704, 7168),
    "geotiff_variants/cog_gcps.tif": (1, 837, 1280),
    "geotiff_variants/cog_rgb_mask.tif": (3, 232, 383),
    "geotiff_variants/cog_rgba.tif": (4, 232, 383),
    "geotiff_variants/cog_scale.tif": (2, 256, 256),
    "geotiff_variants/cog_tags.tif": (1, 256, 256),
    "geotiff_variants/cogeo.tif": (3, 1024, 1024),
    "geotiff_variants/corrupt.tif": r"is cut short: block 1, 1 of band 1",
    "geotiff_variants/float32.tif": (1, 2, 3),
    "geotiff_variants/float_nan.tif": (1, 2, 3),
    "geotiff_variants/float_raster_with_nodata.tif": (1, 12, 13),
    "geotiff_variants/geotiff_named_s2_B10.jp2": (1, 324, 322),
    "geotiff_variants/goes.tif": (3, 542, 542),
    "geotiff_variants/green.tif": (3, 64, 64),
    "geotiff_variants/image_2000px.tif": (3, 1500, 1500),
    "geotiff_variants/image_float.tif": (1, 341, 316),
    "geotiff_variants/image_missing_nodata.tif": (1, 500, 500),
    "geotiff_variants/image_rgb_mask.tif": (3, 512, 512),
    "geotiff_variants/red.tif": (3, 64, 64),
    "geotiff_variants/rotated.tif": (1, 15, 10),
    "geotiff_variants/test_esri_wkt.tif": (1, 2, 2),
    "geotiff_variants/world.byte.tif": (1, 1200, 2880),
}
VOLUME = (40, 48, 42)
NIFTI = {
    "bad_datatype.nii": r"unknown datatype 9999",
    "bad_empty.nii.gz": r"is not a NIfTI file, it is empty or damaged",
    "bad_gz_named_nii.nii": VOLUME,
    "bad_header_only.nii": r"is cut short: .* end at byte 161632, the file has 352",
    "bad_huge_dim.nii": r"is cut short: voxels \(30000, 48, 40\)",
    "bad_magic.nii": r"is not a NIfTI file, it has b'xyz",
    "bad_nan_pixdim.nii": r"voxel size of \[nan, 1.0, 1.0\] mm",
    "bad_nan_sform.nii": r"sform \[\[nan",
    "bad_negative_dim.nii": r"states the impossible dims \[3, -5, 48, 40",
    "bad_nii_named_gz.nii.gz": VOLUME,
    "bad_text.nii": r"is not a NIfTI file, it starts with b'not a nifti",
    "bad_truncated.nii": r"is cut short: .* end at byte 161632, the file has 80816",
    "bad_truncated.nii.gz": r"is cut short: .* the file has 109942",
    "bad_vox_offset.nii": r"is cut short: .* end at byte 261280",
    "bad_zero_dim.nii": r"states the impossible dims \[3, 0, 48, 40",
    "bad_zero_pixdim.nii": r"voxel size of \[0.0, 1.0, 1.0\] mm",
    "big_endian.nii.gz": VOLUME,
    "complex64.nii.gz": r"holds complex64 values",
    "constant.nii.gz": VOLUME,
    "float32_inf.nii.gz": VOLUME,
    "float32_nan.nii.gz": VOLUME,
    "float64.nii.gz": VOLUME,
    "int32.nii.gz": VOLUME,
    "left_handed.nii.gz": VOLUME,
    "negative_pixdim.nii": VOLUME,
    "negative_values.nii.gz": VOLUME,
    "nifti2.nii.gz": VOLUME,
    "no_qform_no_sform.nii.gz": VOLUME,
    "pair.hdr": VOLUME,
    "pair.img": VOLUME,
    "permuted_axes_ILA.nii.gz": (48, 42, 40),
    "qform_sform_differ.nii.gz": VOLUME,
    "rgb24.nii.gz": r"holds RGB values",
    "shape_2d.nii.gz": (48, 42),
    "shape_4d_3vols.nii.gz": (3, 40, 48, 42),
    "shape_5d.nii.gz": VOLUME,
    "shape_single_slice.nii.gz": (1, 48, 42),
    "sheared_sform.nii.gz": VOLUME,
    "slope_inter.nii.gz": VOLUME,
    "tiny_2x2x2.nii.gz": (2, 2, 2),
    "uint16.nii.gz": VOLUME,
    "uint8.nii": VOLUME,
}
FILES = {**GEOTIFF, **{f"nifti_derived/{name}": told for name, told in NIFTI.items()}}
DICOM = {
    "dicom_broken_series/slicecount/001": (2, 256, 256),
    "dicom_broken_series/sliceincrement/002": r"missing",
    "dicom_broken_series/sliceorientation/001": r"holds 2 scans",
    "dicom_derived_series/duplicate_position": (9, 128, 128),
    "dicom_derived_series/missing_slice": r"1 slice is missing: gap of 2 mm",
    "dicom_derived_series/mixed_two_series": r"holds 2 scans",
    "dicom_derived_series/no_pixelspacing": r"no PixelSpacing",
    "dicom_derived_series/no_position": r"no ImagePositionPatient",
    "dicom_derived_series/nonsquare_pixels": (9, 64, 128),
    "dicom_derived_series/ok_reference": (9, 128, 128),
    "dicom_derived_series/one_slice_other_matrix": r"missing",
    "dicom_derived_series/one_truncated": r"missing",
    "dicom_derived_series/per_slice_rescale": (9, 128, 128),
    "dicom_derived_series/shuffled_names_no_extension": (9, 128, 128),
    "dicom_derived_series/spacing_jitter_1pct": (9, 128, 128),
    "dicom_derived_series/with_foreign_files": (9, 128, 128),
    "dicom_derived_series/wrong_slicethickness": (9, 128, 128),
}
NEMA = ("J2KI", "J2KR", "JLSL", "JLSN", "JPLL", "JPLY", "RLE")


@pytest.mark.parametrize("name", [*FILES, *DICOM])
def test_read_odd_file_gives_the_array_or_our_error(shared_data: Path, name: str) -> None:
    path = shared_data / "odd" / name
    told = FILES.get(name, DICOM.get(name))
    if isinstance(told, str):
        with pytest.raises(ReadError, match=told):
            read(path)
    else:
        da = read(path)
        assert da.shape == told
        assert da[..., -1:, -1:].compute().size > 0


@pytest.mark.parametrize("name", [name for name, told in FILES.items() if isinstance(told, str)])
def test_refusal_names_the_file_once_and_the_remedy(shared_data: Path, name: str) -> None:
    path = shared_data / "odd" / name
    with pytest.raises(ReadError) as caught:
        read(path)
    assert str(caught.value).count(str(path)) == 1
    assert re.search(r"; (fetch|convert|correct|export|write)", str(caught.value))


@pytest.mark.parametrize("name", FILES)
def test_find_scans_agrees_with_read(shared_data: Path, name: str) -> None:
    (scan,) = find_scans(shared_data / "odd" / name)
    told = FILES[name]
    assert scan.verdict.ok == isinstance(told, tuple)
    if scan.verdict.ok:
        assert scan.shape == told


def outcome(scan: Scan) -> tuple[int, ...] | str:
    """Shape, or the text of our error."""
    try:
        return read(scan).shape
    except ReadError as error:
        return str(error)


@pytest.mark.parametrize("folder", NEMA)
def test_every_file_of_a_dicom_folder_reads_or_ends_in_our_error(shared_data: Path, folder: str) -> None:
    for path in sorted((shared_data / "odd/dicom_nema_wg04" / folder).iterdir()):
        (scan,) = find_scans(path)
        assert scan.kind == "dicom"
        told = outcome(scan)
        assert told == (1, 512, 512) or path.name in str(told)


@pytest.mark.parametrize("family", ["geotiff_derived", "geotiff_variants", "nifti_derived"])
def test_every_odd_file_is_listed_here(shared_data: Path, family: str) -> None:
    there = {f"{family}/{path.name}" for path in (shared_data / "odd" / family).iterdir()}
    assert there - {f"{family}/SOURCE.txt"} == {name for name in FILES if name.startswith(family)}


def test_damaged_pixels_are_our_error_when_they_are_computed(tmp_path: Path, shared_data: Path) -> None:
    data = bytearray((shared_data / "odd/geotiff_derived/scale_offset_uint16.tif").read_bytes())
    data[20000:60000] = bytes(40000)
    path = tmp_path / "damaged.tif"
    path.write_bytes(data)
    da = read(path)
    with pytest.raises(ReadError, match=r"cannot read .*damaged.tif: .*; the file is damaged or cut short"):
        da.compute(scheduler="synchronous")
