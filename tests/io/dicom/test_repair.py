"""Missing slices filled and tilted ones straightened, on request alone; every trace of it is told."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from helpers.dicom_series import (
    AXIAL,
    CORONAL,
    OBLIQUE,
    ORIGIN,
    PIXEL,
    SAGITTAL,
    SHAPE,
    STEP,
    affine_of,
    build_series,
    real_pixels,
    set_pixels,
)
from pydicom import Dataset
from typer.testing import CliRunner

from sr_imaging import ConfigError, ReadError, find_scans, read, write
from sr_imaging.cli.__main__ import app
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.grid.volumes import affine
from sr_imaging.io.scan import under_policies

LARGE = (64, 48)


def tilted(folder: Path, degrees: float, *, count: int = 5, orientation: tuple[float, ...] = AXIAL) -> None:
    """Slices of one scene that is linear in world coordinates, shifted down as they go along the normal."""
    column = np.array(orientation[3:])

    def edit(ds: Dataset, k: int) -> None:
        shift = np.tan(np.radians(degrees)) * STEP * k * column
        place = np.array([float(v) for v in ds.ImagePositionPatient]) + shift
        ds.ImagePositionPatient = [round(float(v), 9) for v in place]
        rows = np.arange(LARGE[0]) * PIXEL[0] + np.tan(np.radians(degrees)) * STEP * k
        set_pixels(ds, np.broadcast_to(np.rint(1000 + 20 * rows)[:, None], LARGE).astype(np.int16), bits=12)

    build_series(
        folder, count, orientation=orientation, pixels=np.zeros((count, *LARGE), np.int16), edit=edit
    )


def test_missing_slice_is_filled_on_request(tmp_path: Path) -> None:
    pixels = real_pixels(6).astype(int) - 1024
    build_series(tmp_path, 6)[3].unlink()
    da = read(tmp_path, on_missing="resample")
    assert da.shape == (6, *SHAPE)
    np.testing.assert_array_equal(np.delete(da.values, 3, 0), np.delete(pixels, 3, 0))
    np.testing.assert_array_equal(da.values[3], np.rint((pixels[2] + pixels[4]) / 2))
    np.testing.assert_allclose(affine(da), affine_of(AXIAL), atol=1e-9)


def test_two_missing_slices_are_filled_by_their_distance(tmp_path: Path) -> None:
    paths = build_series(tmp_path, 7)
    paths[3].unlink()
    paths[4].unlink()
    da = read(tmp_path, on_missing="resample").astype(float)
    ends = da.values[2], da.values[5]
    np.testing.assert_allclose(da.values[3], ends[0] * 2 / 3 + ends[1] / 3, atol=0.51)
    np.testing.assert_allclose(da.values[4], ends[0] / 3 + ends[1] * 2 / 3, atol=0.51)


def test_filled_slice_keeps_padding_out_of_the_mean(tmp_path: Path) -> None:
    def edit(ds: Dataset, k: int) -> None:
        pixels = real_pixels(5)[k]
        pixels[:4] = -2000
        pixels[4, :] = -2000 if k == 1 else 500
        set_pixels(ds, pixels, bits=16)
        ds.add_new(0x00280120, "SS", -2000)

    build_series(tmp_path, 5, edit=edit)[2].unlink()
    values = read(tmp_path, on_missing="resample").values
    assert (values[:, :4] == -3024).all()
    assert set(np.unique(values[2, 4])) <= {-3024, 500 - 1024}


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
@pytest.mark.parametrize("degrees", [18.5, -7.25])
def test_tilted_slices_are_straightened_on_request(
    tmp_path: Path, orientation: tuple[float, ...], degrees: float
) -> None:
    tilted(tmp_path, degrees, orientation=orientation)
    da = read(tmp_path, on_tilt="resample")
    matrix = affine(da)
    unit = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    np.testing.assert_allclose(unit.T @ unit, np.eye(3), atol=1e-9)
    fill = da.attrs["_FillValue"]
    index = np.argwhere(da.values != fill)
    world = (matrix @ np.c_[index, np.ones(len(index))].T)[:3].T
    down = (world - ORIGIN) @ np.array(orientation[3:])
    expected = 1000 + 20 * down - 1024
    np.testing.assert_allclose(
        da.values[tuple(index.T)], expected, atol=20 * PIXEL[0] * 0.5 + 1
    )  # edge pixels
    inner = np.abs(da.values[tuple(index.T)] - expected) <= 1.01  # two roundings to whole numbers
    assert inner.mean() > 0.98


def test_straightened_grid_holds_every_pixel_of_every_slice(tmp_path: Path) -> None:
    tilted(tmp_path, 18.5)
    da = read(tmp_path, on_tilt="resample")
    shift = np.tan(np.radians(18.5)) * STEP * 4 / PIXEL[0]
    assert da.shape == (5, LARGE[0] + int(np.ceil(shift)), LARGE[1])
    valid = (da.values != da.attrs["_FillValue"]).sum((1, 2))
    assert (valid >= (LARGE[0] - 1) * LARGE[1]).all()
    assert (valid <= LARGE[0] * LARGE[1]).all()


def test_straightened_volume_gets_a_padding_value_of_its_own(tmp_path: Path) -> None:
    tilted(tmp_path, 10)
    da = read(tmp_path, on_tilt="resample")
    assert da.attrs["_FillValue"] == da.values.min() == 1000 - 1024 - 1
    assert np.isnan(read(tmp_path, on_tilt="resample", masked=True).values).any()


def test_gap_in_a_tilted_series_needs_both_policies(tmp_path: Path) -> None:
    tilted(tmp_path, 12, count=6)
    (tmp_path / "IM0002.dcm").unlink()
    (scan,) = find_scans(tmp_path)
    assert scan.verdict.needs == ("on_tilt", "on_missing")
    for policies in ({"on_tilt": "resample"}, {"on_missing": "resample"}):
        with pytest.raises(ReadError, match=r"gantry tilt.*1 slice is missing.*ask for on_tilt=resample and"):
            read(scan, **policies)
    assert read(scan, on_tilt="resample", on_missing="resample").shape[0] == 6


def test_slice_that_is_filled_among_tilted_ones_lies_where_it_was(tmp_path: Path) -> None:
    """As its neighbours it covers its own pixels alone, and it has the values of the scene there."""
    tilted(tmp_path / "whole", 18.5, count=6)
    tilted(tmp_path / "gap", 18.5, count=6)
    (tmp_path / "gap/IM0002.dcm").unlink()
    whole = read(tmp_path / "whole", on_tilt="resample")
    filled = read(tmp_path / "gap", on_tilt="resample", on_missing="resample")
    np.testing.assert_array_equal(filled == filled.attrs["_FillValue"], whole == whole.attrs["_FillValue"])
    np.testing.assert_allclose(
        filled, whole, atol=1
    )  # the scene is linear; the filled slice rounds once more


def test_remedy_names_no_policy_where_another_problem_has_none(shared_data: Path) -> None:
    path = shared_data / "medical/dcm_ct_head_ge_tilt_varspacing"
    with pytest.raises(
        ReadError, match=r"gantry tilt.*uneven.*; resample the series to an even spacing first$"
    ):
        read(path, on_tilt="resample", on_missing="resample")


def test_gap_longer_than_the_rest_is_filled_by_no_policy(tmp_path: Path) -> None:
    build_series(tmp_path, 4, steps=STEP * np.array([0, 1, 2, 8]))
    with pytest.raises(ReadError, match=r"5 slices are missing.*; add the missing files$"):
        read(tmp_path, on_missing="resample")


def test_uneven_series_is_repaired_by_no_policy(tmp_path: Path) -> None:
    steps = STEP * np.array([0, 1, 2.4, 3, 4, 5])
    build_series(tmp_path, 6, steps=steps)
    with pytest.raises(ReadError, match="uneven slice spacing"):
        read(tmp_path, on_missing="resample", on_tilt="resample")


@pytest.mark.parametrize("policies", [{"on_missing": "skip"}, {"on_tilt": "ignore"}])
def test_unknown_policy_is_refused(tmp_path: Path, policies: dict[str, str]) -> None:
    build_series(tmp_path)
    with pytest.raises(ConfigError, match=r"unknown on_\w+ '\w+'; choose raise or resample"):
        read(tmp_path, **policies)


def test_policies_change_nothing_of_a_good_series(tmp_path: Path) -> None:
    build_series(tmp_path)
    plain, asked = read(tmp_path), read(tmp_path, on_missing="resample", on_tilt="resample")
    assert asked.identical(plain)
    assert "history" not in asked.attrs


def test_history_and_log_say_what_was_interpolated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build_series(tmp_path, 6)[3].unlink()
    with caplog.at_level(logging.WARNING, "sr_imaging"):
        da = read(tmp_path, on_missing="resample")
    told = r"slice 3 is missing and interpolated linearly from the neighbours"
    assert re.search(rf"^\d{{4}}-\S+Z sr_imaging \S+: read; {told}", da.attrs["history"])
    assert re.search(told, caplog.text)


def test_repaired_scan_states_the_grid_that_is_read(tmp_path: Path) -> None:
    tilted(tmp_path, 12, count=6)
    (tmp_path / "IM0002.dcm").unlink()
    (scan,) = under_policies(find_scans(tmp_path), on_missing="resample", on_tilt="resample")
    da = read(scan)
    assert scan.shape == da.shape
    assert scan.spacing == pytest.approx(tuple(spacing(da).values()))


def test_verdict_is_one_line_and_json(tmp_path: Path) -> None:
    build_series(tmp_path, 6)[3].unlink()
    (scan,) = find_scans(tmp_path)
    assert re.fullmatch(r"refused: 1 slice is missing: .*", str(scan.verdict))
    told = json.loads(scan.verdict.to_json())
    assert told == {
        "ok": False,
        "reason": scan.verdict.reason,
        "notes": [],
        "needs": ["on_missing"],
    }
    assert json.loads(json.dumps(scan.as_dict()))["series_uid"] == scan.series_uid


def test_repaired_volume_is_written_with_its_own_source(tmp_path: Path) -> None:
    build_series(tmp_path / "in", 6)[3].unlink()
    da = read(tmp_path / "in", on_missing="resample")
    again = read(write(da, tmp_path / "out", source=tmp_path / "in"))
    np.testing.assert_array_equal(again.values, da.values)
    np.testing.assert_allclose(affine(again), affine(da), atol=1e-6)


def test_real_series_with_a_hole_is_filled_where_it_is(shared_data: Path) -> None:
    whole = read(shared_data / "odd/dicom_derived_series/ok_reference")
    da = read(shared_data / "odd/dicom_derived_series/missing_slice", on_missing="resample")
    np.testing.assert_allclose(affine(da), affine(whole), atol=1e-6)
    np.testing.assert_array_equal(np.delete(da.values, 6, 0), np.delete(whole.values, 6, 0))


def test_real_tilt_with_a_hole_is_repaired(shared_data: Path) -> None:
    folder = shared_data / "odd/dicom_broken_series/sliceincrement/002"
    da = read(folder, on_missing="resample", on_tilt="resample")
    assert da.shape[0] == 5
    assert spacing(da)["z"] == pytest.approx(0.7497, abs=1e-4)


@pytest.mark.parametrize("decimals", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_two_rounded_slices_are_not_tilted(tmp_path: Path, decimals: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, column = np.linalg.qr(rng.normal(size=(3, 2)))[0].T

    def edit(ds: Dataset, k: int) -> None:
        ds.ImagePositionPatient = [round(float(v), decimals) for v in ds.ImagePositionPatient]

    build_series(tmp_path, 2, orientation=(*row, *column), steps=np.array([0, 1.1]), edit=edit)
    (scan,) = find_scans(tmp_path)
    assert scan.verdict.ok, scan.verdict
    matrix = affine(read(scan))
    assert np.abs(matrix[:3, 0] @ matrix[:3, 1:3]).max() < 1e-9


@pytest.mark.parametrize(("degrees", "count"), [(60, 2), (44, 30)])
def test_impossible_tilt_is_repaired_by_no_policy(tmp_path: Path, degrees: float, count: int) -> None:
    tilted(tmp_path, degrees, count=count)
    with pytest.raises(ReadError, match=r"gantry tilt.*; export the series again with its geometry$"):
        read(tmp_path, on_tilt="resample")


def test_two_tilted_slices_are_tilted(tmp_path: Path) -> None:
    tilted(tmp_path, 5, count=2)
    (scan,) = find_scans(tmp_path)
    assert "gantry tilt: the slices shift 5 degrees" in scan.verdict.reason


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_inspect_tells_what_a_policy_repairs(tmp_path: Path) -> None:
    build_series(tmp_path, 6)[3].unlink()
    refused = run("inspect", tmp_path)
    assert (refused.exit_code, "ask for on_missing=resample" in refused.stdout) == (4, True)
    (told,) = json.loads(run("inspect", tmp_path, "--on-missing", "resample", "--json").stdout)
    assert (told["ok"], told["shape"], told["policies"]) == (True, [6, *SHAPE], ["on_missing"])
    assert run("inspect", tmp_path, "--on-missing", "guess").exit_code == 2


def test_command_line_upscales_a_repaired_series(tmp_path: Path) -> None:
    tilted(tmp_path / "in", 12)
    asked = ("upscale", tmp_path / "in", "-m", "cubic", "--scale", "z=2", "-o", tmp_path / "out")
    assert run(*asked).exit_code == 4
    done = run(*asked, "--on-tilt", "resample")
    assert done.exit_code == 0, done.output
    (scan,) = find_scans(tmp_path / "out")
    assert scan.shape[0] == 10
    assert scan.verdict.ok


def test_inspect_tells_whose_scan_it_is_only_when_asked(tmp_path: Path) -> None:
    build_series(tmp_path)
    for more in ((), ("--json",)):
        assert "Secret" not in run("inspect", tmp_path, *more).output
        assert "SECRETID" not in run("inspect", tmp_path, *more).output
        assert "Secret^Name" in run("inspect", tmp_path, "--patient", *more).stdout
