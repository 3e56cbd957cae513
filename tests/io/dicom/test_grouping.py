"""What tells series of one SeriesInstanceUID apart, said without patient data, kept when they are read."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom_series import STEP, build_series, enhanced_file
from pydicom import Dataset, dcmread

from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.dicom.reading.series import read_series
from sr_imaging.io.dicom.writing.series import write_series
from sr_imaging.io.scan import Scan


def scans_of(folder: Path) -> list[Scan]:
    return find_series(folder.iterdir())[0]


@pytest.mark.parametrize(
    ("name", "value"), [("PatientID", "OTHERID"), ("StudyInstanceUID", "1.2.3"), ("PatientID", "")]
)
def test_find_series_keeps_patients_and_studies_apart(tmp_path: Path, name: str, value: str) -> None:
    def edit(ds: Dataset, k: int) -> None:
        if k >= 3:
            setattr(ds, name, value)

    build_series(tmp_path, 7, edit=edit)
    scans = scans_of(tmp_path)
    assert [len(read_series(scan)) for scan in scans] == [3, 4]
    assert [scan.facts["split"] for scan in scans] == [f"{name} differs ({k} of 2)" for k in (1, 2)]


def test_slices_without_the_series_number_of_the_others_are_no_series_of_their_own(tmp_path: Path) -> None:
    build_series(tmp_path, 7, edit=lambda ds, k: setattr(ds, "SeriesNumber", None if k % 2 else 7))
    (scan,) = scans_of(tmp_path)
    assert scan.shape[0] == 7
    assert scan.spacing[0] == pytest.approx(STEP)


def test_find_series_tells_patients_apart_without_naming_them(tmp_path: Path) -> None:
    build_series(tmp_path, 6, edit=lambda ds, k: setattr(ds, "PatientID", f"PATIENT{k // 3}"))
    told = json.dumps([scan.as_dict() for scan in scans_of(tmp_path)])
    assert "PatientID differs" in told
    assert "PATIENT0" not in told


def test_find_series_counts_acquisition_times_and_does_not_show_them(tmp_path: Path) -> None:
    times = ["030507", "030405"]
    steps = STEP * np.array([0, 1, 2, 0, 1, 2])
    build_series(tmp_path, 6, steps=steps, edit=lambda ds, k: setattr(ds, "AcquisitionTime", times[k // 3]))
    scans = scans_of(tmp_path)
    assert [scan.facts["split"] for scan in scans] == ["AcquisitionTime 2 of 2", "AcquisitionTime 1 of 2"]
    assert not re.search("0305|0304", json.dumps([scan.as_dict() | {"series_uid": ""} for scan in scans]))
    assert [len(read_series(scan)) for scan in scans] == [3, 3]


def test_read_series_groups_slices_near_a_tolerance_as_they_were_found(tmp_path: Path) -> None:
    """Each lies within 1e-4 of the first one by name, and not of the first one along the normal."""
    angles = [0, 0.9e-4, -0.9e-4, 0.5e-4, -0.5e-4]

    def edit(ds: Dataset, k: int) -> None:
        c, s = np.cos(angles[k]), np.sin(angles[k])
        ds.ImageOrientationPatient = [c, s, 0, -s, c, 0]

    build_series(tmp_path, edit=edit, steps=STEP * np.array([2, 0, 1, 3, 4]))
    (scan,) = scans_of(tmp_path)
    assert scan.verdict.ok
    assert len(read_series(scan)) == 5


def repeated(folder: Path, count: int, group: Callable[[int], tuple[str, Dataset]]) -> Path:
    """An enhanced file that holds a stack of four slices `count` times, each time in another group."""
    build_series(folder / "slices", 4, modality="MR")
    ds = enhanced_file(folder / "slices", folder / "e.dcm", "MR")
    pixels, frames = ds.pixel_array, []
    for k in range(count):
        for groups in dcmread(folder / "e.dcm").PerFrameFunctionalGroupsSequence:
            name, item = group(k)
            groups.FrameContentSequence = [Dataset()]
            setattr(groups, name, [item])
            frames.append(groups)
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = frames, len(frames)
    ds.PixelData = np.concatenate([pixels + k for k in range(count)]).astype(pixels.dtype).tobytes()
    ds.save_as(folder / "repeated.dcm")
    return folder / "repeated.dcm"


def test_find_series_splits_the_gradient_directions_of_an_enhanced_file(tmp_path: Path) -> None:
    def diffusion(k: int) -> tuple[str, Dataset]:
        item, direction = Dataset(), Dataset()
        item.DiffusionBValue = 1000.0 if k else 0.0
        if k:
            direction.DiffusionGradientOrientation = [float(k == n) for n in (1, 2, 3)]
            item.DiffusionGradientDirectionSequence = [direction]
        return "MRDiffusionSequence", item

    scans, _ = find_series([repeated(tmp_path, 4, diffusion)])
    assert [scan.facts["split"] for scan in scans] == [
        "DiffusionBValue 0.0",
        "DiffusionBValue 1000.0, DiffusionGradientOrientation [1.0, 0.0, 0.0]",
        "DiffusionBValue 1000.0, DiffusionGradientOrientation [0.0, 1.0, 0.0]",
        "DiffusionBValue 1000.0, DiffusionGradientOrientation [0.0, 0.0, 1.0]",
    ]
    values = [read_series(scan).values for scan in scans]
    assert [int((v - values[0]).mean()) for v in values] == [0, 1, 2, 3]
    write_series(read_series(scans[2]), tmp_path / "out", scans[2])
    out = dcmread(tmp_path / "out/IM_0001.dcm")
    assert (out.DiffusionBValue, list(out.DiffusionGradientOrientation)) == (1000, [0, 1, 0])


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ],
)
def test_find_series_splits_the_repeats_of_an_enhanced_file(tmp_path: Path, group: str, name: str) -> None:
    def item(k: int) -> tuple[str, Dataset]:
        out = Dataset()
        setattr(out, name, 40.0 * k)
        return group, out

    scans, _ = find_series([repeated(tmp_path, 3, item)])
    assert [scan.facts["split"] for scan in scans] == [f"{name} {40.0 * k}" for k in range(3)]
    assert [len(read_series(scan)) for scan in scans] == [4, 4, 4]
