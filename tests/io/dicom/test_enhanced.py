"""Enhanced files of every kind read alike, and reading a series takes little more memory than its volume."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom_series import OBLIQUE, affine_of, build_series, enhanced_file, real_pixels
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000Lossless, RLELossless

from sr_imaging import find_scans, read
from sr_imaging.image.grid.volumes import affine
from sr_imaging.io.dicom.reading.series import read_series

LARGE = (24, 256, 320)
MOST = 1.3  # of the volume


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
def test_enhanced_file_reads_like_its_slices(tmp_path: Path, modality: str, syntax: str | None) -> None:
    pixels = real_pixels(5, (48, 64))  # JPEG 2000 needs some
    build_series(tmp_path / "slices", modality=modality, orientation=OBLIQUE, pixels=pixels)
    ds = enhanced_file(tmp_path / "slices", tmp_path / "e.dcm", modality)
    if syntax:
        ds.compress(syntax)
        ds.save_as(tmp_path / "e.dcm")
    da, single = read(tmp_path / "e.dcm"), read(tmp_path / "slices")
    np.testing.assert_array_equal(da.values, single.values)
    np.testing.assert_allclose(affine(da), affine_of(OBLIQUE), atol=1e-9)
    assert da.coords["volume_ref"].attrs["modality"] == modality


def test_enhanced_file_of_several_times_is_split(tmp_path: Path) -> None:
    build_series(tmp_path / "slices", 4, modality="MR")
    ds = enhanced_file(tmp_path / "slices", tmp_path / "e.dcm", "MR")
    frames, pixels = list(ds.PerFrameFunctionalGroupsSequence), ds.pixel_array
    for groups in frames:
        groups.FrameContentSequence = [Dataset()]
        groups.FrameContentSequence[0].TemporalPositionIndex = 1
    later = list(dcmread(tmp_path / "e.dcm").PerFrameFunctionalGroupsSequence)
    for groups in later:
        groups.FrameContentSequence = [Dataset()]
        groups.FrameContentSequence[0].TemporalPositionIndex = 2
    ds.PerFrameFunctionalGroupsSequence = [*frames, *later]
    ds.NumberOfFrames = 8
    ds.PixelData = np.concatenate([pixels, pixels[::-1]]).tobytes()
    ds.save_as(tmp_path / "e.dcm")
    first, second = find_scans(tmp_path / "e.dcm")
    np.testing.assert_array_equal(read(first).values, read(tmp_path / "slices").values)
    np.testing.assert_array_equal(read(second).values, read(first).values[::-1])
    assert not np.array_equal(read(second).values, read(first).values)
    assert second.facts["split"] == "TemporalPositionIdentifier 2"


def test_deformed_frame_count_is_refused(tmp_path: Path) -> None:
    build_series(tmp_path / "slices", 4)
    ds = enhanced_file(tmp_path / "slices", tmp_path / "e.dcm", "CT")
    ds.NumberOfFrames = 6
    ds.save_as(tmp_path / "e.dcm")
    (scan,) = find_scans(tmp_path / "e.dcm")
    assert "damaged: 6 frames but functional groups for 4" in scan.verdict.reason


def whole(ds: Dataset, k: int) -> None:
    """Integers with an intercept, as of CT."""


def fractions(ds: Dataset, k: int) -> None:
    ds.RescaleSlope = f"0.{k + 1}25"


def padded(ds: Dataset, k: int) -> None:
    ds.add_new(0x00280120, "US", 0)


@pytest.mark.slow
@pytest.mark.parametrize("edit", [whole, fractions, padded])
@pytest.mark.parametrize("kind", ["slices", "enhanced"])
def test_reading_takes_little_more_than_the_volume(
    tmp_path: Path, edit: Callable[[Dataset, int], None], kind: str
) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 4000, LARGE).astype(np.int16)
    build_series(tmp_path / "slices", LARGE[0], pixels=pixels, edit=edit)
    path = tmp_path / "slices"
    if kind == "enhanced":
        path = tmp_path / "e.dcm"
        enhanced_file(tmp_path / "slices", path, "CT")
    (scan,) = find_scans(path)
    read_series(scan)  # imports are not the volume
    tracemalloc.start()
    values = read_series(scan).values
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values.shape == LARGE
    assert peak <= MOST * values.nbytes
