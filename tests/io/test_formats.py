"""One way in and one way out: content decides what a path holds, the suffix what is written."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pydicom.data import get_testdata_file
from pydicom.fileset import FileSet

from sr_imaging import ReadError, WriteError, find_scans, read, write
from sr_imaging.image.grid.volumes import affine
from sr_imaging.image.grid.volumes import volume as grid_volume
from sr_imaging.io.formats import FORMATS, load_function

SERIES = "odd/dicom_derived_series/ok_reference"
TWO_SERIES = "odd/dicom_derived_series/mixed_two_series"


def raster(value: int = 1) -> xr.DataArray:
    coords = {"y": 90.0 - 2 * np.arange(3), "x": 10.0 + 5 * np.arange(4)}
    return xr.DataArray(np.full((2, 3, 4), value, np.uint8), dims=("band", "y", "x"), coords=coords)


def volume() -> xr.DataArray:
    values = np.random.default_rng(0).integers(0, 900, (4, 6, 5)).astype(np.int16)
    reference = {"modality": "CT", "frame_of_reference_uid": "1.2.3"}
    return grid_volume(values, np.diag([3.0, 2.0, 1.5, 1.0])[[2, 1, 0, 3]], reference=reference)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two rasters, a volume, a truncated raster, and files of other kinds, in subfolders."""
    root = tmp_path / "in"
    write(raster(1), root / "b" / "two.tif")
    write(raster(2), root / "a" / "one.TIFF")
    write(volume(), root / "a" / "vol.nii.gz")
    data = (root / "b" / "two.tif").read_bytes()
    (root / "b" / "cut.tif").write_bytes(data[: len(data) // 3])
    for name in ("Thumbs.db", "README.md", "a/notes.txt", "b/.hidden.tif", "b/.77-part-two.tif"):
        (root / name).write_bytes(data if name.endswith("tif") else b"words")
    (root / ".cache").mkdir()
    (root / ".cache" / "two.tif").write_bytes(data)
    return root


def test_folder_gives_its_scans_sorted_without_hidden_and_foreign_files(folder: Path) -> None:
    scans = find_scans(folder)
    assert [scan.path.relative_to(folder).as_posix() for scan in scans] == [
        "a/one.TIFF",
        "a/vol.nii.gz",
        "b/cut.tif",
        "b/two.tif",
    ]
    assert [scan.kind for scan in scans] == ["geotiff", "nifti", "geotiff", "geotiff"]
    assert [scan.verdict.ok for scan in scans] == [True, True, False, True]


def test_scan_tells_shape_and_spacing_without_reading(folder: Path) -> None:
    one, vol, cut, _ = find_scans(folder)
    assert (one.shape, one.spacing) == ((2, 3, 4), (2.0, 5.0))
    assert (vol.shape, vol.spacing) == ((4, 6, 5), (3.0, 2.0, 1.5))
    assert "cut.tif" in cut.verdict.reason


def test_same_folder_gives_the_same_scans(folder: Path) -> None:
    assert find_scans(str(folder)) == find_scans(folder)


def test_missing_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"no such file or folder: .*nowhere.tif; check the path"):
        find_scans(tmp_path / "nowhere.tif")


def test_path_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"cannot read .*: File name too long; check the path"):
        find_scans(tmp_path / ("a" * 300))


def test_path_without_permission_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ReadError, match=r"two.tif may not be read; check its permissions"):
        find_scans(folder / "b" / "two.tif")


def test_file_that_cannot_be_opened_stays_with_its_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: Path, *arguments: object) -> object:
        if path.name == "two.tif":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *arguments)

    whole = Path.open
    monkeypatch.setattr(Path, "open", opened)
    reasons = {scan.path.name: scan.verdict.reason for scan in find_scans(folder)}
    assert "two.tif cannot be read: Permission denied; check its permissions" in reasons["two.tif"]
    assert reasons["one.TIFF"] == ""


def test_folder_without_scans_tells_what_it_holds(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"note{number}.txt").write_text("x")
    with pytest.raises(ReadError, match=r"no readable scan in .*: 7 other files \(note0.txt, .*, …\)"):
        find_scans(tmp_path)


def test_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"no readable scan in .*: 0 other files; DICOM, GeoTIFF"):
        read(tmp_path)


def test_named_file_of_another_kind_is_a_refused_scan(tmp_path: Path) -> None:
    path = tmp_path / "photo.gif"
    path.write_bytes(b"GIF89a" + bytes(600))
    (scan,) = find_scans(path)
    assert not scan.verdict.ok
    with pytest.raises(ReadError, match=r"photo.gif starts with b'GIF89a.* and is not DICOM, GeoTIFF"):
        read(path)


def test_content_decides_the_kind(folder: Path, tmp_path: Path) -> None:
    for source, name, kind in (
        ("b/two.tif", "image.dcm", "geotiff"),
        ("a/vol.nii.gz", "vol.tif", "nifti"),
        ("a/vol.nii.gz", "no_suffix", "nifti"),
    ):
        path = tmp_path / name
        shutil.copy(folder / source, path)
        (scan,) = find_scans(path)
        assert (scan.kind, scan.verdict.ok) == (kind, True)
        assert read(path).size > 0


def test_dicom_with_the_preamble_of_a_tiff_is_dicom(shared_data: Path) -> None:
    path = shared_data / "odd/dicom_nema_wg04/RLE/CT1_RLE"
    assert path.read_bytes()[:3] in (b"II*", b"MM\0")
    assert find_scans(path)[0].kind == "dicom"


def test_pair_of_nifti_files_is_one_scan(shared_data: Path, tmp_path: Path) -> None:
    for suffix in ("hdr", "img"):
        shutil.copy(shared_data / f"odd/nifti_derived/pair.{suffix}", tmp_path)
    (scan,) = find_scans(tmp_path)
    assert [path.name for path in scan.files] == ["pair.hdr", "pair.img"]
    assert find_scans(tmp_path / "pair.img") == [scan]


def test_each_dicom_series_is_one_scan(shared_data: Path) -> None:
    scans = find_scans(shared_data / TWO_SERIES)
    assert len({scan.series_uid for scan in scans}) == len(scans) == 2


def test_empty_slice_beside_a_good_series_is_reported(shared_data: Path) -> None:
    scans = find_scans(shared_data / "odd/dicom_derived_series/with_foreign_files")
    assert sorted((scan.verdict.ok, scan.path.name) for scan in scans) == [
        (False, "empty.dcm"),
        (True, "with_foreign_files"),
    ]


def test_several_scans_are_listed_not_chosen(folder: Path) -> None:
    with pytest.raises(ReadError, match=r"holds 3 scans; pass series= .*\n.*one.TIFF.*\n.*vol.nii.gz.*\n"):
        read(folder)


def test_several_series_are_listed_by_uid(shared_data: Path) -> None:
    uids = [scan.series_uid for scan in find_scans(shared_data / TWO_SERIES)]
    with pytest.raises(ReadError) as caught:
        read(shared_data / TWO_SERIES)
    assert all(str(uid) in str(caught.value) for uid in uids)


def test_series_is_picked_by_uid_its_end_or_its_number(shared_data: Path) -> None:
    path = shared_data / TWO_SERIES
    for scan in find_scans(path):
        wanted = read(scan)
        uid, number = str(scan.series_uid), scan.facts["series_number"]
        for name in (uid, uid[-12:], number, str(number)):
            xr.testing.assert_identical(read(path, series=name), wanted)


def test_file_of_a_folder_is_picked_by_name(folder: Path) -> None:
    assert int(read(folder, series="one.TIFF").max()) == 2


def test_unknown_series_lists_those_there_are(shared_data: Path) -> None:
    with pytest.raises(ReadError, match=r"has no series 'nine'; it has\n  1\.3\.12"):
        read(shared_data / SERIES, series="nine")


def test_refused_scan_gives_its_reason_when_read(folder: Path) -> None:
    cut = find_scans(folder)[2]
    with pytest.raises(ReadError, match=r"cut.tif"):
        read(cut)


def test_only_good_scan_of_a_folder_is_read(folder: Path) -> None:
    assert int(read(folder / "b").max()) == 1


@pytest.mark.parametrize("masked", [False, True])
def test_masked_turns_nodata_to_nan(tmp_path: Path, masked: bool) -> None:
    da = raster(7)
    da[0, 1, 2] = 0
    path = write(da.assign_attrs(_FillValue=np.uint8(0)), tmp_path / "a.tif")
    got = read(path, masked=masked)
    assert got.dtype == ("float32" if masked else "uint8")
    assert int(np.isnan(got.astype(float)).sum()) == masked
    assert ("_FillValue" in got.attrs) is not masked


def zipped(source: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(source.iterdir()):
            archive.write(file, f"study/{file.name}")
    return path


def test_zip_is_read_like_its_folder(shared_data: Path, tmp_path: Path) -> None:
    path = zipped(shared_data / SERIES, tmp_path / "study.zip")
    xr.testing.assert_identical(read(path), read(shared_data / SERIES))
    assert find_scans(path) == find_scans(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.zip"]


def test_unpacked_zip_is_gone_after_the_process(shared_data: Path, tmp_path: Path) -> None:
    path = zipped(shared_data / SERIES, tmp_path / "study.zip")
    script = "import sys, sr_imaging; print(sr_imaging.find_scans(sys.argv[1])[0].path)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert not Path(done.stdout.strip()).exists()


def test_damaged_zip_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4" + bytes(50))
    with pytest.raises(ReadError, match=r"cannot unpack .*bad.zip: .*; unpack it yourself or fetch it again"):
        read(tmp_path / "bad.zip")


def medium(folder: Path, source: Path) -> Path:
    """Copy files onto a medium with an index that pydicom writes; return the index."""
    index = FileSet()
    for path in sorted(source.glob("IM*")):
        index.add(path)
    index.write(folder)
    index._stage["t"].cleanup()  # else a warning when it is collected
    return folder / "DICOMDIR"


def test_dicomdir_leads_to_the_files_that_it_names(shared_data: Path, tmp_path: Path) -> None:
    index = medium(tmp_path, shared_data / SERIES)
    (tmp_path / "EXTRA").mkdir()
    shutil.copy(next((shared_data / "odd/dicom_nema_wg04/RLE").iterdir()), tmp_path / "EXTRA/OTHER")
    xr.testing.assert_identical(read(index), read(shared_data / SERIES))
    assert len(find_scans(index)) == 1
    assert len(find_scans(tmp_path)) == 2


def test_dicomdir_finds_names_in_other_letters(shared_data: Path, tmp_path: Path) -> None:
    index = medium(tmp_path, shared_data / SERIES)
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if path != index:
            path.rename(path.with_name(path.name.lower() + (";1" if path.is_file() else "")))
    assert read(index).shape == (9, 128, 128)


def test_dicomdir_tells_what_is_absent(shared_data: Path, tmp_path: Path) -> None:
    index = medium(tmp_path, shared_data / SERIES)
    last = sorted(path for path in tmp_path.rglob("IM*") if path.is_file())[-1]
    last.unlink()
    (scan,) = find_scans(index)
    assert f"1 of 9 files that DICOMDIR names are absent: {last.relative_to(tmp_path).as_posix()}" in str(
        scan.verdict
    )


@pytest.mark.parametrize("damage", ["absent", "cut", "none named", "outside"])
def test_dicomdir_without_images_is_refused(shared_data: Path, tmp_path: Path, damage: str) -> None:
    index = medium(tmp_path / "cd", shared_data / SERIES)
    data = index.read_bytes()
    if damage == "cut":
        index.write_bytes(data[: len(data) // 2])
    elif damage == "none named":
        index.write_bytes(
            Path(get_testdata_file("dicomdirtests/DICOMDIR-empty.dcm", download=False)).read_bytes()
        )
    elif damage == "outside":
        (tmp_path / "cd/PT000000").rename(tmp_path / "PT000000")
        index.write_bytes(data.replace(b"PT000000", b"../PT000"))
    else:
        shutil.rmtree(tmp_path / "cd/PT000000")
    with pytest.raises(ReadError, match=r"DICOMDIR.*; (copy the whole medium|give the folder)"):
        read(index)


def test_folder_of_a_medium_has_no_refused_index(shared_data: Path, tmp_path: Path) -> None:
    medium(tmp_path, shared_data / SERIES)
    assert [scan.verdict.ok for scan in find_scans(tmp_path)] == [True]


def test_dicomdir_that_is_no_index_stands_for_its_folder(shared_data: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_data / SERIES, tmp_path / "IMAGES")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert read(tmp_path / "DICOMDIR").shape == (9, 128, 128)


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.zarr"])
def test_suffix_chooses_the_format_of_a_raster(tmp_path: Path, name: str) -> None:
    path = write(raster(3), tmp_path / "deep" / name)
    assert path == tmp_path / "deep" / name
    assert np.array_equal(read(path).values, raster(3).values)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.zarr", "series"])
def test_suffix_chooses_the_format_of_a_volume(tmp_path: Path, name: str) -> None:
    again = read(write(volume(), tmp_path / name))
    assert np.array_equal(again.values, volume().values)
    assert affine(again) == pytest.approx(affine(volume()), abs=1e-6)


def test_dicom_takes_its_source_by_path(shared_data: Path, tmp_path: Path) -> None:
    da = read(shared_data / SERIES)
    again = read(write(da, tmp_path / "out", source=shared_data / SERIES))
    assert np.array_equal(again.values, da.values)


def test_source_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"vol.nii.gz is nifti, not a DICOM series; pass source=None"):
        write(volume(), tmp_path / "out", source=folder / "a" / "vol.nii.gz")
    assert not (tmp_path / "out").exists()


def test_unknown_suffix_is_told(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"cannot tell the format of .*a.png; use a suffix of .tif"):
        write(raster(), tmp_path / "a.png")


def test_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"unknown format 'png'; choose one of cog, dicom, geotiff, nifti"):
        write(raster(), tmp_path / "a.tif", format="png")


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_existing_output_is_replaced_only_when_asked(tmp_path: Path, name: str) -> None:
    path = write(raster(1), tmp_path / name)
    with pytest.raises(WriteError, match=r"exists; pass overwrite=True"):
        write(raster(2), path)
    assert int(read(path).max()) == 1
    write(raster(2), path, overwrite=True)
    assert int(read(path).max()) == 2


def test_output_may_replace_its_own_lazy_source(tmp_path: Path) -> None:
    path = write(raster(1), tmp_path / "a.tif")
    write(read(path) + np.uint8(4), path, overwrite=True)
    assert int(read(path).max()) == 5


PLACES = [place for form in FORMATS.values() for place in (form.scan, form.read, form.write) if place]


@pytest.mark.parametrize("place", PLACES)
def test_table_of_formats_names_functions_that_exist(place: str) -> None:
    assert callable(load_function(place))


def test_import_of_io_loads_no_library() -> None:
    script = "import sys, sr_imaging.io; print(*(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"numpy", "xarray", "dask", "rasterio", "pydicom", "nibabel", "zarr", "torch"}
    assert not heavy & set(done.stdout.split())
