"""A thick-slice series brought to a target spacing: the factor is the data's, and every plane is in place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.dicom_series import OBLIQUE, ORIGIN, STEP, build_series, set_pixels
from pydicom import Dataset
from typer.testing import CliRunner

from sr_imaging import find_scans, read, upscale
from sr_imaging.cli.__main__ import app
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.grid.volumes import affine
from sr_imaging.networks import build_generator

COUNT, SIDE = 20, (12, 14)
SLOPE = 0.5  # a fraction, so that values are floats and not rounded
# a through-plane network that has learned nothing makes the interpolated image, which is exact on a ramp
THROUGH: Any = build_generator("espcn", {"scale": (4, 1), "axes": ("z", "plane"), "channels": 4})
NORMAL = np.cross(OBLIQUE[:3], OBLIQUE[3:])
MODELS = ["cubic", "linear", THROUGH]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Oblique slices of 5 mm every 6 mm, whose values grow by 8.5 HU with each mm along their normal."""

    def edit(ds: Dataset, k: int) -> None:
        set_pixels(ds, np.full(SIDE, 100 + 102 * k, np.int16), bits=12)
        ds.PixelSpacing, ds.RescaleSlope = [0.8, 0.7], SLOPE

    build_series(
        tmp_path / "in", COUNT, orientation=OBLIQUE, pixels=np.zeros((COUNT, *SIDE), "i2"), edit=edit
    )
    return tmp_path / "in"


def worst_on_ramp(da: Any) -> float:
    """Largest deviation in HU from the ramp, at the places in the patient that the array states."""
    matrix = affine(da)
    along = np.array([(matrix @ [k, 0, 0, 1])[:3] @ NORMAL for k in range(len(da))]) - ORIGIN @ NORMAL
    inner = (along >= 3 * STEP) & (along <= (COUNT - 4) * STEP)  # beyond it the border is replicated
    assert inner.sum() > 10
    wanted = SLOPE * (100 + 102 * along / STEP) - 1024
    return float(np.abs(da.values[inner] - wanted[inner, None, None]).max())


@pytest.mark.parametrize("factor", [1.2, 2.5, 3.3, 5])
@pytest.mark.parametrize("model", MODELS)
def test_target_spacing_places_every_plane_of_a_ramp(folder: Path, factor: float, model: Any) -> None:
    da = read(folder)
    fine = upscale(da, model, spacing={"z": STEP / factor})
    assert spacing(fine)["z"] == pytest.approx(STEP / factor, rel=1e-12)
    assert len(fine) == round(COUNT * factor)
    assert worst_on_ramp(fine) < 1e-4 * float(np.ptp(da.values))


@pytest.mark.parametrize("model", MODELS)
def test_plain_number_refines_through_the_plane_alone(folder: Path, model: Any) -> None:
    fine = upscale(read(folder), model, spacing=1.0)
    assert fine.shape == (120, *SIDE)
    assert spacing(fine) == pytest.approx({"z": 1.0, "y": 0.8, "x": 0.7})
    assert worst_on_ramp(fine) < 1e-4 * 1000


def test_factor_comes_from_the_spacing_and_not_the_thickness(folder: Path) -> None:
    fine = upscale(read(folder), "cubic", spacing=1.0)
    reference = fine.coords["volume_ref"].attrs
    assert reference["spacing"][0] == pytest.approx(1.0)
    assert reference["slice_thickness"] == pytest.approx(5 / 6)


def test_command_line_reaches_a_target_spacing(folder: Path, tmp_path: Path) -> None:
    asked = ["upscale", str(folder), "-o", str(tmp_path / "out"), "-m", "cubic", "--spacing", "1"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    (scan,) = find_scans(tmp_path / "out")
    assert scan.spacing[0] == pytest.approx(1.0, abs=1e-6)
    assert scan.facts["slice_thickness"] == pytest.approx(5 / 6)
    assert worst_on_ramp(read(scan)) < 1e-4 * 1000 + 0.02  # stored in 16 bits, so in steps
