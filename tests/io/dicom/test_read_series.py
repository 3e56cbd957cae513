"""A series read as modality values in the right place, checked against SimpleITK, highdicom and pydicom."""

import os
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
import xarray as xr
from helpers.dicom_series import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    ORIGIN,
    SAGITTAL,
    SHAPE,
    STEP,
    affine_of,
    build_series,
    real_pixels,
    set_pixels,
)
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian

from sr_imaging import ReadError
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.grid.reference import axis_step
from sr_imaging.image.grid.volumes import affine as grid_affine
from sr_imaging.io.dicom.reading import headers as dicom_header
from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.reading.series import read_series

GOOD_SERIES = (
    "medical/dcm_ct_body_siemens_mct_jpeg2000",
    "medical/dcm_mr_pd_ge_axial_oblique",
    "medical/dcm_mr_phase_siemens_trio",
    "medical/dcm_mr_t1_philips_elition_oblique",
    "odd/dicom_derived_series/nonsquare_pixels",
    "odd/dicom_derived_series/ok_reference",
    "odd/dicom_derived_series/per_slice_rescale",
    "odd/dicom_derived_series/shuffled_names_no_extension",
)


def read_folder(folder: Path) -> xr.DataArray:
    scans, _ = find_series(folder.iterdir())
    assert len(scans) == 1
    return read_series(scans[0])


def simpleitk(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Values (z, y, x) and affine of files in the given order."""
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in files])
    image = reader.Execute()
    size, affine = image.GetSize(), np.eye(4)
    affine[:3, 3] = image.TransformIndexToPhysicalPoint((0, 0, 0))
    for column, axis in enumerate((2, 1, 0)):
        if size[axis] > 1:
            index = [0, 0, 0]
            index[axis] = 1
            affine[:3, column] = np.subtract(image.TransformIndexToPhysicalPoint(index), affine[:3, 3])
    return SimpleITK.GetArrayFromImage(image), affine


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_read_series_places_every_orientation(tmp_path: Path, orientation: tuple) -> None:
    build_series(tmp_path, orientation=orientation)
    da = read_folder(tmp_path)
    assert da.dims == ("z", "y", "x")
    np.testing.assert_allclose(grid_affine(da), affine_of(orientation), atol=1e-9)
    assert spacing(da) == pytest.approx({"z": 6, "y": 1.25, "x": 0.8}, abs=1e-9)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE])
def test_read_series_agrees_with_highdicom(tmp_path: Path, orientation: tuple) -> None:
    paths = build_series(tmp_path, orientation=orientation)
    da = read_folder(tmp_path)
    oracle = hd.get_volume_from_series([dcmread(path) for path in paths], apply_modality_transform=True)
    matrix, values = oracle.affine, oracle.array
    if matrix[:3, 0] @ grid_affine(da)[:3, 0] < 0:  # highdicom may count slices the other way
        matrix = matrix @ np.array([[-1, 0, 0, len(values) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        values = values[::-1]
    np.testing.assert_allclose(grid_affine(da), matrix, atol=1e-6)
    np.testing.assert_array_equal(da.values, values)


@pytest.mark.slow
@pytest.mark.parametrize("folder", GOOD_SERIES)
def test_read_series_agrees_with_simpleitk_on_real_scans(shared_data: Path, folder: str) -> None:
    scan = find_series((shared_data / folder).iterdir())[0][0]
    da = read_series(scan)
    values, matrix = simpleitk(list(scan.files))
    np.testing.assert_allclose(da.values, values, rtol=1e-6)  # float32 against ITK's doubles
    np.testing.assert_allclose(grid_affine(da), matrix, atol=1e-6)


@pytest.mark.parametrize("folder", GOOD_SERIES)
def test_read_series_places_first_and_last_slice_as_stated(shared_data: Path, folder: str) -> None:
    scan = find_series((shared_data / folder).iterdir())[0][0]
    matrix = grid_affine(read_series(scan))
    for k in (0, -1):
        stated = [float(v) for v in dcmread(scan.files[k], stop_before_pixels=True).ImagePositionPatient]
        index = len(scan.files) - 1 if k else 0
        # the first one exactly; the last one within the tolerance of uneven slices, 1 % of 7 mm at most
        np.testing.assert_allclose((matrix @ [index, 0, 0, 1])[:3], stated, atol=0.07 if k else 1e-9)


def test_read_series_sorts_by_position_whatever_the_order(tmp_path: Path) -> None:
    pixels = real_pixels(5)
    build_series(tmp_path, pixels=pixels[::-1], steps=STEP * np.arange(5)[::-1])
    np.testing.assert_array_equal(read_folder(tmp_path).values, pixels.astype(int) - 1024)


def test_read_series_keeps_thickness_apart_from_spacing(tmp_path: Path) -> None:
    build_series(tmp_path)
    reference = read_folder(tmp_path).coords["volume_ref"].attrs
    assert reference["slice_thickness"] == 5
    assert reference["spacing"][0] == STEP
    assert reference["modality"] == "CT"
    assert reference["frame_of_reference_uid"].startswith("1.2.826")


def test_read_series_gives_hounsfield_integers_for_ct(tmp_path: Path) -> None:
    pixels = real_pixels(5)
    build_series(tmp_path, pixels=pixels)
    da = read_folder(tmp_path)
    assert (da.dtype, da.attrs["units"], da.name) == (np.int16, "HU", "CT")
    np.testing.assert_array_equal(da.values, pixels.astype(int) - 1024)


@pytest.mark.parametrize(
    ("dtype", "bits", "low", "high"),
    [
        ("u1", 8, 0, 255),
        ("i2", 16, -2000, 3000),
        ("u2", 12, 0, 4095),
        ("u2", 16, 0, 65535),
        ("i4", 32, -9, 99),
    ],
)
def test_read_series_reads_signed_and_unsigned_of_any_size(
    tmp_path: Path, dtype: str, bits: int, low: int, high: int
) -> None:
    pixels = np.random.default_rng(1).integers(low, high + 1, (4, *SHAPE)).astype(dtype)
    pixels[0, 0, :2] = low, high

    build_series(tmp_path, 4, modality="MR", edit=lambda ds, k: set_pixels(ds, pixels[k], bits=bits))
    da = read_folder(tmp_path)
    np.testing.assert_array_equal(da.values, pixels)
    assert da.dtype.itemsize == pixels.dtype.itemsize or da.dtype == np.int16


def test_read_series_drops_overlay_bits_above_the_stored_ones(tmp_path: Path) -> None:
    pixels = real_pixels(3).astype(np.uint16)
    build_series(tmp_path, 3, modality="MR", pixels=(pixels | 0x8000).astype(np.uint16))
    np.testing.assert_array_equal(read_folder(tmp_path).values, pixels)


def test_read_series_extends_the_sign_of_twelve_bits(tmp_path: Path) -> None:
    pixels = (real_pixels(3) % 2048 - 1024).astype(np.int16)

    def edit(ds: Dataset, k: int) -> None:
        set_pixels(ds, (pixels[k] & 0x0FFF).astype(np.int16), bits=12)
        ds.PixelRepresentation = 1

    build_series(tmp_path, 3, modality="MR", edit=edit)
    np.testing.assert_array_equal(read_folder(tmp_path).values, pixels)


def test_read_series_reads_big_endian(tmp_path: Path) -> None:
    source = Path(get_testdata_file("MR_small_bigendian.dcm", download=False))
    assert dcmread(source).file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    da = read_series(find_series([source])[0][0])
    little = read_series(find_series([Path(get_testdata_file("MR_small.dcm", download=False))])[0][0])
    xr.testing.assert_identical(da, little)


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
def test_read_series_decodes_lossless_compression_alike(name: str) -> None:
    plain, packed = (
        read_series(find_series([Path(get_testdata_file(file, download=False))])[0][0])
        for file in ("MR_small.dcm", name)
    )
    np.testing.assert_array_equal(packed.values, plain.values)


@pytest.mark.parametrize("image", ["CT1", "CT2", "MR1", "MR3"])
def test_read_series_decodes_nema_lossless_samples_alike(shared_data: Path, image: str) -> None:
    root = shared_data / "odd/dicom_nema_wg04"
    arrays = [
        read_series(find_series([root / kind / f"{image}_{kind}"])[0][0]).values
        for kind in ("RLE", "J2KR", "JLSL", "JPLL")
    ]
    for other in arrays[1:]:
        np.testing.assert_array_equal(arrays[0], other)


def test_read_series_decodes_every_transfer_syntax_alike(shared_data: Path, tmp_path: Path) -> None:
    for path in (shared_data / "medical/dcm_mr_transfer_syntaxes_siemens").glob("*.dcm"):
        data = path.read_bytes()
        (tmp_path / path.name).write_bytes(data.replace(b"\\MOSAIC", b"\\SINGLE"))
    scans, _ = find_series(tmp_path.iterdir())
    arrays = [read_series(scan).values for scan in scans]
    assert len(arrays) == 9
    assert all(np.array_equal(arrays[0], other) for other in arrays[1:])


def test_read_series_keeps_modality_values_of_monochrome1(tmp_path: Path) -> None:
    pixels = real_pixels(4)
    build_series(
        tmp_path, 4, pixels=pixels, edit=lambda ds, k: setattr(ds, "PhotometricInterpretation", "MONOCHROME1")
    )
    np.testing.assert_array_equal(read_folder(tmp_path).values, pixels.astype(int) - 1024)


def test_read_series_applies_a_slope_per_slice_in_float(tmp_path: Path) -> None:
    pixels = real_pixels(4)

    def edit(ds: Dataset, k: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept, ds.Modality, ds.Units = f"0.{k + 1}25", 0, "PT", "BQML"

    build_series(tmp_path, 4, pixels=pixels, edit=edit)
    da = read_folder(tmp_path)
    slopes = np.array([0.125, 0.225, 0.325, 0.425])[:, None, None]
    assert (da.dtype, da.attrs["units"]) == (np.float32, "BQML")
    np.testing.assert_array_equal(da.values, (pixels * slopes).astype(np.float32))


def test_read_series_applies_whole_slopes_exactly(tmp_path: Path) -> None:
    pixels = real_pixels(4)

    def edit(ds: Dataset, k: int) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = 2, -4096

    build_series(tmp_path, 4, pixels=pixels, edit=edit)
    da = read_folder(tmp_path)
    assert da.dtype == np.int16
    np.testing.assert_array_equal(da.values, pixels.astype(int) * 2 - 4096)


def test_read_series_widens_where_sixteen_bits_do_not_hold_the_values(tmp_path: Path) -> None:
    pixels = real_pixels(3)
    build_series(tmp_path, 3, pixels=pixels, edit=lambda ds, k: setattr(ds, "RescaleSlope", 1000))
    da = read_folder(tmp_path)
    assert da.dtype == np.int32
    np.testing.assert_array_equal(da.values, pixels.astype(int) * 1000 - 1024)


def test_read_series_applies_a_modality_lookup_table(tmp_path: Path) -> None:
    pixels = real_pixels(3)

    def edit(ds: Dataset, k: int) -> None:
        item = Dataset()
        item.add_new(0x00283002, "US", [4096, 0, 16])
        item.add_new(0x00283006, "OW", (np.arange(4096, dtype=np.uint16) * 3 + k).tobytes())
        item.ModalityLUTType = "US"
        del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType
        ds.ModalityLUTSequence = [item]

    build_series(tmp_path, 3, pixels=pixels, edit=edit)
    da = read_folder(tmp_path)
    assert da.dtype == np.float32
    np.testing.assert_array_equal(da.values, pixels * 3.0 + np.arange(3)[:, None, None])


def test_read_series_states_padding_as_nodata_after_rescale(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        pixels = real_pixels(4)[k]
        pixels[:3] = -2000
        set_pixels(ds, pixels, bits=16)
        ds.add_new(0x00280120, "SS", -2000)

    build_series(tmp_path, 4, edit=edit)
    da = read_folder(tmp_path)
    assert da.attrs["_FillValue"] == -3024
    assert da.attrs["_FillValue"].dtype == da.dtype
    assert (da.values[:, :3] == -3024).all()
    assert (da.values[:, 3:] != -3024).all()


def test_read_series_maps_a_padding_range_to_one_value(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        pixels = real_pixels(4)[k]
        pixels[:2], pixels[2:4] = -2000, -1990
        set_pixels(ds, pixels, bits=16)
        ds.add_new(0x00280120, "SS", -2000)
        ds.add_new(0x00280121, "SS", -1980)

    build_series(tmp_path, 4, edit=edit)
    assert (read_folder(tmp_path).values[:, :4] == -3024).all()


def test_read_series_keeps_padding_beyond_the_stored_bits(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        pixels = real_pixels(4)[k].astype(np.uint16)
        pixels[:3] = 63536  # as -2000 is often written
        set_pixels(ds, pixels, bits=12)
        ds.add_new(0x00280120, "US", 63536)

    build_series(tmp_path, 4, modality="MR", edit=edit)
    da = read_folder(tmp_path)
    assert da.attrs["_FillValue"] == 63536
    assert (da.values[:, :3] == 63536).all()


def test_read_series_rescales_float_padding_like_the_pixels(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        pixels = real_pixels(4)[k]
        pixels[:3] = 0
        set_pixels(ds, pixels, bits=12)
        ds.RescaleSlope, ds.RescaleIntercept = 0.5, 7.25
        ds.add_new(0x00280120, "US", 0)

    build_series(tmp_path, 4, edit=edit)
    da = read_folder(tmp_path)
    assert da.attrs["_FillValue"] == np.float32(7.25)
    assert (da.values[:, :3] == da.attrs["_FillValue"]).all()


def test_read_series_raises_the_verdict(tmp_path: Path) -> None:
    build_series(tmp_path, 6)[3].unlink()
    with pytest.raises(ReadError, match="gap of 12 mm"):
        read_folder(tmp_path)


def test_read_series_names_a_file_that_was_truncated_after_the_scan(tmp_path: Path) -> None:
    paths = build_series(tmp_path)
    scan = find_series(paths)[0][0]
    paths[2].write_bytes(paths[2].read_bytes()[:-300])
    with pytest.raises(ReadError, match=r"IM0002\.dcm: truncated"):
        read_series(scan)


def test_read_series_names_a_truncated_compressed_file(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "odd/dicom_nema_wg04/JPLL/MR1_JPLL").read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(data[: len(data) // 2])
    scans, _ = find_series([path])
    with pytest.raises(ReadError, match=r"cut.*truncated"):
        read_series(scans[0])


def test_read_series_reads_each_echo_by_itself(tmp_path: Path) -> None:
    pixels = real_pixels(8)
    for echo in (1, 2):
        build_series(
            tmp_path,
            4,
            modality="MR",
            pixels=pixels[4 * echo - 4 : 4 * echo],
            names=[f"{echo}-{k}" for k in range(4)],
            edit=lambda ds, k, echo=echo: setattr(ds, "EchoNumbers", echo),
        )
    for part, scan in enumerate(find_series(tmp_path.iterdir())[0]):
        np.testing.assert_array_equal(read_series(scan).values, pixels[4 * part : 4 * part + 4])


@pytest.mark.parametrize(
    "name",
    [
        "1901_WIP_3DpCASL_real.dcm",
        "siemens_cimax_xa61_88972279",
        "siemens_terrax_xa60_75739475",
        "siemens_xa10_6_1.dcm",
    ],
)
def test_read_series_agrees_with_highdicom_on_enhanced_files(shared_data: Path, name: str) -> None:
    path = shared_data / "medical/dcm_mr_enhanced_multiframe" / name
    scan = find_series([path])[0][0]
    da = read_series(scan)
    image = hd.imread(path)
    oracle = image.get_volume(apply_modality_transform=True)
    matrix, values = oracle.affine, oracle.array
    if matrix[:3, 0] @ grid_affine(da)[:3, 0] < 0:
        matrix = matrix @ np.array([[-1, 0, 0, len(values) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        values = values[::-1]
    np.testing.assert_allclose(
        grid_affine(da), matrix, atol=1e-4
    )  # highdicom goes along the normal, positions are rounded
    np.testing.assert_allclose(da.values, values, rtol=1e-6)


def test_read_series_of_one_slice_keeps_three_axes(tmp_path: Path) -> None:
    build_series(tmp_path, 1, orientation=OBLIQUE)
    da = read_folder(tmp_path)
    assert da.shape == (1, *SHAPE)
    np.testing.assert_allclose(grid_affine(da), affine_of(OBLIQUE, step=5.0), atol=1e-9)
    assert da.coords["volume_ref"].attrs["origin"] == pytest.approx(ORIGIN)


def test_read_series_normalises_rounded_cosines(tmp_path: Path) -> None:
    rounded = (0.7071, 0.7071, 0, -0.7071, 0.7071, 0)  # off unit length by 1e-5
    build_series(tmp_path, edit=lambda ds, k: setattr(ds, "ImageOrientationPatient", list(rounded)))
    scan = find_series(tmp_path.iterdir())[0][0]
    direction = grid_affine(read_series(scan))[:3, :3]
    np.testing.assert_allclose(np.linalg.norm(direction, axis=0), [6, 1.25, 0.8], rtol=1e-12)
    assert any("normalised" in note for note in scan.verdict.notes)


def test_read_series_leaves_files_untouched(tmp_path: Path) -> None:
    paths = build_series(tmp_path)
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    read_folder(tmp_path)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths] == before


@pytest.mark.parametrize("image", ["MR1", "MR3"])
def test_read_series_decodes_jpeg_extended_of_nema_like_simpleitk(shared_data: Path, image: str) -> None:
    path = shared_data / f"odd/dicom_nema_wg04/JPLY/{image}_JPLY"  # its scan headers break the standard
    values, _ = simpleitk([path])
    ours = read_series(find_series([path])[0][0]).values
    assert np.abs(ours.astype(int) - values).max() <= 2  # two decoders round the inverse transform


def test_read_series_of_damaged_files_ends_in_read_errors_only(tmp_path: Path) -> None:
    data = build_series(tmp_path / "good", 1)[0].read_bytes()
    rng = np.random.default_rng(11)
    path, outcomes = tmp_path / "damaged.dcm", []
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(132, 1500, 3):
            broken[int(place)] = int(rng.integers(256))
        path.write_bytes(broken)
        scans, _ = find_series([path])
        for scan in scans:
            try:
                outcomes.append(read_series(scan).ndim)
            except ReadError as error:
                outcomes.append(str(error).count("damaged.dcm"))
    assert min(outcomes) >= 1
    assert 3 in outcomes


def test_read_series_takes_the_parts_of_one_enhanced_file_apart(shared_data: Path) -> None:
    path = shared_data / "medical/dcm_mr_enhanced_multiframe/philips_IM_0027_fMAP.dcm"
    pixels = dcmread(path).pixel_array
    magnitude, phase = (read_series(scan) for scan in find_series([path])[0])
    assert magnitude.shape == phase.shape == (32, 64, 64)
    assert magnitude.values.min() >= 0 > phase.values.min()
    assert len(pixels) == 64


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("1901_WIP_3DpCASL_real.dcm", 2.5),
        ("philips_IM_0027_fMAP.dcm", 4.0),
        ("siemens_cimax_xa61_88972279", 2.0),
        ("siemens_terrax_xa60_75739475", 2.0),
        ("siemens_xa10_6_1.dcm", 3.375),
    ],
)
def test_read_series_of_enhanced_files_keeps_the_stated_spacing(
    shared_data: Path, name: str, stated: float
) -> None:
    for scan in find_series([shared_data / "medical/dcm_mr_enhanced_multiframe" / name])[0]:
        da = read_series(scan)
        assert [axis_step(da, dim) for dim in "yx"] == [stated, stated]
        assert da.coords["volume_ref"].attrs["spacing"][1:] == (stated, stated)
        lengths = np.linalg.norm(grid_affine(da)[:3, 1:3], axis=0)
        np.testing.assert_allclose(lengths, stated, rtol=1e-15)


def aged(paths: list[Path]) -> None:
    """Make files look old enough that their headers are kept in memory; only their status is new."""
    for path in paths:
        os.utime(path, (1e9, 1e9))


def test_changed_file_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr_imaging.io.dicom.reading.headers.SETTLED_NS", 0)
    paths = build_series(tmp_path, 4)
    aged(paths)
    assert read_folder(tmp_path).coords["volume_ref"].attrs["origin"] == pytest.approx(ORIGIN)
    paths = build_series(tmp_path, 4, steps=STEP * np.arange(4) + 6.5)  # as many bytes
    aged(paths)
    moved = read_folder(tmp_path).coords["volume_ref"].attrs["origin"]
    assert moved == pytest.approx((ORIGIN[0], ORIGIN[1], ORIGIN[2] + 6.5))


def test_headers_are_parsed_once_for_a_scan_that_is_found_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sr_imaging.io.dicom.reading.headers.SETTLED_NS", 0)
    paths, calls = build_series(tmp_path, 4), []
    parse = dicom_header._parse_file
    monkeypatch.setattr(dicom_header, "_parse_file", lambda path: calls.append(path) or parse(path))
    read_folder(tmp_path)
    assert calls == paths


def test_file_that_is_just_written_is_always_parsed(tmp_path: Path) -> None:
    build_series(tmp_path, 4)
    read_folder(tmp_path)
    assert not any(state[0].parent == tmp_path for state in dicom_header._RECENT)
