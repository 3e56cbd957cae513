"""Which model, and by how much: the table of D9, every way to ask, and every refusal."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from helpers.builders import Strided, fill_zoo, generator, raster, scan

from sr_imaging import GridError, ModelError, upscale
from sr_imaging.inference.model_choice import choose

THROUGH = generator("espcn", scale=(4, 1), axes=("z", "plane"), channels=4)
FLAT = generator("espcn", scale=(2, 3), channels=4)
SOLID = generator("espcn", scale=(2, 1, 2), channels=4)


@pytest.fixture(autouse=True)
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill_zoo(tmp_path)
    monkeypatch.setattr("sr_imaging.inference.model_choice.ZOO", tmp_path)
    monkeypatch.setattr("sr_imaging.models.model_file.ZOO", tmp_path)
    return tmp_path


def isotropic(**more: Any) -> xr.DataArray:
    return scan((4, 5, 6), spacing=(0.9, 0.8, 0.7), **more)


@pytest.mark.parametrize(
    ("da", "ask", "name"),
    [
        (raster(), {}, "raster-x2"),
        (raster((5, 6)), {}, "raster-x2"),
        (raster((5, 6)).rename(y="lat", x="lon"), {"scale": 2}, "raster-x2"),
        (raster().drop_vars(["y", "x", "spatial_ref"]), {}, "raster-x2"),
        (raster().expand_dims(time=2), {"scale": {"y": 2, "x": 2}}, "raster-x2"),
        (raster(), {"scale": (2, 2)}, "raster-x2"),
        (raster(), {"spacing": 4.0}, "raster-x2"),
        (scan(), {}, "ct-through-x4"),
        (scan(), {"scale": 4}, "ct-through-x4"),
        (scan(modality="MR"), {}, "mr-through-x4"),
        (scan(modality="PT"), {}, "mr-through-x4"),
        (scan().expand_dims(time=2), {"scale": {"z": 4}}, "ct-through-x4"),
        (isotropic(), {"scale": {"z": 4}}, "ct-through-x4"),
        (isotropic(), {"scale": (4, 1, 1)}, "ct-through-x4"),
        (isotropic(), {"spacing": {"z": 0.5}}, "ct-through-x4"),
        (scan(), {"spacing": 0.8}, "ct-through-x4"),
    ],
)
def test_auto_takes_the_model_of_the_table(da: xr.DataArray, ask: dict[str, Any], name: str) -> None:
    if ask.get("spacing") == 0.8:
        da = scan(spacing=(5.0, 0.8, 0.8))
    choice = choose(da, "auto", ask.get("scale"), ask.get("spacing"))
    assert choice.name == name


@pytest.mark.filterwarnings("ignore:.*modality PT:UserWarning")
def test_auto_says_in_the_log_what_it_took(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="sr_imaging"):
        sr = upscale(raster(), "auto")
    assert "model 'auto' is raster-x2" in caplog.text
    assert sr.attrs["sr_model"] == "raster-x2"


@pytest.mark.parametrize(
    ("da", "ask", "text"),
    [
        (raster(), {"scale": 3}, "no bundled model for a raster ('band', 'y', 'x') and scale 3; there are"),
        (raster(), {"scale": 4}, "raster-x2, any model file, and model='cubic'"),
        (raster(), {"scale": (2, 4)}, "and scale y by 2, x by 4"),
        (raster(), {"scale": 2.5}, "and scale 2.5"),
        (isotropic(), {}, "a volume of spacing z 0.9, y 0.8, x 0.7 and no scale given"),
        (isotropic(), {"scale": 2}, "a volume of spacing z 0.9"),
        (isotropic(), {"scale": (2, 2, 2)}, "and scale z by 2, y by 2, x by 2"),
        (scan().drop_vars(["z", "y", "x", "volume_ref"]), {}, "a volume of spacing unknown"),
        (scan(), {"scale": 2}, "ct-through-x4 refines z by 4, y by 1, x by 1, not 2"),
        (scan(), {"scale": {"z": 5}}, "ct-through-x4 refines z by 4, y by 1, x by 1, not z by 5"),
    ],
)
def test_auto_refuses_what_no_model_does(da: xr.DataArray, ask: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=re.escape(text)):
        choose(da, "auto", ask.get("scale"), None)


def test_auto_without_any_bundled_model_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("sr_imaging.inference.model_choice.ZOO", tmp_path / "empty")
    with pytest.raises(ModelError, match="there are none, any model file, and model='cubic'"):
        choose(raster(), "auto", None, None)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (2, {"z": 2, "y": 2, "x": 2}),
        (np.int64(2), {"z": 2, "y": 2, "x": 2}),
        (2.0, {"z": 2, "y": 2, "x": 2}),
        ((5, 1, 2), {"z": 5, "y": 1, "x": 2}),
        ([3, 2], {"z": 1, "y": 3, "x": 2}),
        (np.array([5, 1, 2]), {"z": 5, "y": 1, "x": 2}),
        ({"z": 5}, {"z": 5, "y": 1, "x": 1}),
        ({"x": 3, "z": np.float32(2)}, {"z": 2, "y": 1, "x": 3}),
        (2.5, {"z": 2.5, "y": 2.5, "x": 2.5}),
        (1, {"z": 1, "y": 1, "x": 1}),
    ],
)
def test_scale_of_an_interpolation_is_read(scale: Any, expected: dict[str, float]) -> None:
    assert choose(scan(), "cubic", scale, None).scale == expected


def test_scale_may_name_dims_or_axes() -> None:
    da = raster((5, 6)).rename(y="lat", x="lon")
    assert choose(da, "cubic", {"lat": 2}, None).scale == {"lat": 2, "lon": 1}
    assert choose(da, "cubic", {"x": 3, "y": 2}, None).scale == {"lat": 2, "lon": 3}


@pytest.mark.parametrize(
    ("scale", "error", "text"),
    [
        (0, ModelError, "scale 0 must be finite and at least 1; super-resolution only refines"),
        (-2, ModelError, "scale -2 must be finite"),
        (0.5, ModelError, "scale 0.5 must be finite"),
        (np.nan, ModelError, "scale nan must be finite"),
        (np.inf, ModelError, "scale inf must be finite"),
        ((2, 0), ModelError, "scale (2, 0) must be finite"),
        ({"y": np.nan}, ModelError, "must be finite and at least 1"),
        (
            (2, 2, 2, 2),
            ModelError,
            "scale (2.0, 2.0, 2.0, 2.0) has more numbers than the dims ['z', 'y', 'x']",
        ),
        ((), ModelError, "scale () names no dim; give a number, one number per dim, or numbers by dim"),
        ({}, ModelError, "scale {} names no dim"),
        ("2", ModelError, "scale '2' must be a number"),
        ({"y": "two"}, ModelError, "scale {'y': 'two'} must be a number"),
        ((2, None), ModelError, "scale (2, None) must be a number"),
        (object, ModelError, "must be a number"),
        ({"band": 2}, GridError, "no spatial dim 'band'; this array has z, y, x"),
    ],
)
def test_impossible_scale_is_refused(scale: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        choose(scan(), "cubic", scale, None)


@pytest.mark.parametrize("scale", [None, (2, 3), [2, 3], {"x": 3, "y": 2}, {"y": 2.0, "x": 3.0}])
def test_scale_that_a_model_has_is_taken(scale: Any) -> None:
    assert choose(raster(), FLAT, scale, None).scale == {"y": 2, "x": 3}


@pytest.mark.parametrize("scale", [{"y": 2}, {"x": 3}, (3, 2), {"y": 2, "x": 2}, 2, 3, 6])
def test_scale_that_a_model_has_not_is_refused_with_what_it_can(scale: Any) -> None:
    with pytest.raises(ModelError, match=r"ESPCN refines y by 2, x by 3, not .*; ask for that, or"):
        choose(raster(), FLAT, scale, None)


def test_number_is_the_scale_of_the_axes_that_a_model_refines() -> None:
    assert choose(scan(), THROUGH, 4, None).scale == {"z": 4, "y": 1, "x": 1}
    assert choose(scan(), SOLID, 2, None).scale == {"z": 2, "y": 1, "x": 2}


def test_flat_model_takes_a_volume_slice_by_slice() -> None:
    choice = choose(scan(), FLAT, None, None)
    assert choice.dims == ("y", "x")
    assert choice.scale == {"z": 1, "y": 2, "x": 3}


def test_volume_model_on_a_raster_lists_both_sides() -> None:
    text = "ESPCN works on ('z', 'plane'), but z is not among the dims y, x"
    with pytest.raises(ModelError, match=re.escape(text)):
        choose(raster(), THROUGH, None, None)


def test_array_without_spatial_dims_is_refused() -> None:
    da = xr.DataArray(np.zeros((3, 4)), dims=("row", "col"))
    with pytest.raises(GridError, match=r"dims \('row', 'col'\) have no y and x axes; rename"):
        choose(da, "cubic", 2, None)


def test_both_scale_and_spacing_are_refused() -> None:
    with pytest.raises(ModelError, match="both scale and spacing were given; ask for one"):
        choose(raster(), "cubic", 2, 5.0)


def test_interpolation_without_scale_is_refused() -> None:
    with pytest.raises(ModelError, match="'cubic' has no scale of its own; give scale=2"):
        choose(raster(), "cubic", None, None)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        (0.5, {"z": 10, "y": 1.6, "x": 1.4}),
        (0.75, {"z": 5 / 0.75, "y": 0.8 / 0.75, "x": 1}),
        ({"z": 2.0}, {"z": 2.5, "y": 1, "x": 1}),
        ({"x": 0.7, "z": 1.25}, {"z": 4, "y": 1, "x": 1}),
        (np.float32(0.35), {"z": 5 / 0.35, "y": 0.8 / 0.35, "x": 2}),
    ],
)
def test_spacing_is_read(spacing: Any, expected: dict[str, float]) -> None:
    assert choose(scan(), "cubic", None, spacing).scale == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("spacing", "text"),
    [
        (5.0, "the grid is as fine as the target spacing 5.0 already; ask for less"),
        (9.0, "the grid is as fine as the target spacing 9.0 already"),
        ({"z": 9.0}, "target spacing 9 of 'z' is not finer than 5"),
        (0, "target spacing 0 of 'z' is not finer"),
        (-1, "target spacing -1 of 'z' is not finer"),
        (np.nan, "target spacing nan"),
        ({"band": 1}, "no spatial dim 'band'"),
        ("fine", "spacing 'fine' must be a number"),
        ({"z": None}, "spacing {'z': None} must be a number"),
        ((2.0, 1.0), "spacing (2.0, 1.0) names no dims; give a number or numbers by dim"),
        ({}, "spacing {} names no dim"),
    ],
)
def test_impossible_spacing_is_refused(spacing: Any, text: str) -> None:
    with pytest.raises((GridError, ModelError), match=re.escape(text)):
        choose(scan(), "cubic", None, spacing)


def test_spacing_of_an_array_without_coords_is_refused() -> None:
    da = raster((4, 5)).drop_vars(["x", "spatial_ref"])
    with pytest.raises(GridError, match="dim 'x' states no spacing; assign its coordinate or ask"):
        choose(da, "cubic", None, {"x": 2})


def test_model_may_be_a_path_a_name_or_a_module(zoo: Path) -> None:
    for model in ("raster-x2", str(zoo / "raster-x2.safetensors"), zoo / "raster-x2.safetensors"):
        assert choose(raster(), model, None, None).name == "raster-x2"
    assert choose(raster(), FLAT, None, None).name == "ESPCN"
    assert choose(raster(), Strided(2), None, None).name == "Strided"


@pytest.mark.parametrize("model", [None, 3, object(), lambda x: x, SimpleNamespace(scale=(2, 2))])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(ModelError, match=r"does not state '\w+', so it is not a generator; wrap it"):
        choose(raster(), model, None, None)
