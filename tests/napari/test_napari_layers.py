"""What a layer says of its pixels, where its refinement lies, and what a run would do; without a window."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("napari", reason="needs napari, of the extra napari")

from napari.components import ViewerModel
from napari.layers import Image

from napari_plugin.layers import LayerImage, describe, restore_names, to_array
from napari_plugin.north_up import north_is_down, turn_north_up
from napari_plugin.super_resolve.copy_as_code import as_command, as_python
from napari_plugin.super_resolve.model_judgement import best_model, card_text, doubts, refusal
from napari_plugin.super_resolve.plan import Settings, grid_rows, make_plan, size_text
from napari_plugin.super_resolve.result import refined_placement
from sr_imaging import ModelCard

MM = "millimeter"
AFFINE = np.array([[1.1, 0.2, 5], [-0.1, 0.9, -7], [0, 0, 1.0]])
PLACES: dict[str, dict[str, Any]] = {
    "plain": {"shape": (5, 7)},
    "anisotropic": {"shape": (5, 7), "scale": (3, 0.5), "translate": (10, -4)},
    "north_up": {"shape": (5, 7), "scale": (-30, 30), "translate": (1.74e6, 4.6e5)},
    "rotated": {"shape": (5, 7), "scale": (3, 0.5), "rotate": 30, "translate": (1, 2)},
    "sheared": {"shape": (5, 7), "scale": (3, 0.5), "shear": (0.3,)},
    "affine": {"shape": (5, 7), "scale": (3, -0.5), "rotate": 10, "shear": (0.2,), "affine": AFFINE},
    "volume": {
        "shape": (4, 5, 7),
        "scale": (5, -0.9, 0.8),
        "rotate": (10, 20, 30),
        "shear": (0.2, 0.1, -0.3),
    },
    "leading": {"shape": (2, 4, 5, 7), "scale": (1, 5, 0.9, 0.8), "translate": (0, 1, 2, 3)},
}
skew = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing is being requested:UserWarning")


def card(**changes: Any) -> ModelCard:
    facts = {"scale": (4.0, 1.0), "axes": ("z", "plane"), "modality": "MR", "spacing_unit": "mm"}
    facts |= {"spacing_range": (2.0, 6.0), "name": "mr-through-x4"}
    return ModelCard(**{"architecture": "espcn", "arguments": {}, "spatial_dims": 2} | facts | changes)


def volume_layer(**changes: Any) -> Image:
    return Image(np.zeros((6, 8, 10), np.int16), **{"scale": (4, 0.9, 0.8), "units": ["mm"] * 3} | changes)


def corners(layer: Image) -> np.ndarray:
    """World coordinates of the outer corners of the first and last pixels."""
    shape = np.array(layer.data.shape)
    ends = np.array(list(np.ndindex(*(2,) * layer.ndim)))
    return np.array([layer.data_to_world(end * shape - 0.5) for end in ends])


@skew
@pytest.mark.parametrize("name", PLACES)
def test_refined_placement_keeps_every_corner(name: str) -> None:
    arguments = dict(PLACES[name])
    shape = arguments.pop("shape")
    factors = (1, 4, 2, 3)[-len(shape) :]
    coarse = Image(np.zeros(shape, np.uint8), **arguments)
    fine = Image(np.zeros(np.multiply(shape, factors), np.uint8), **refined_placement(coarse, factors))
    pixel = np.abs(np.asarray(fine.scale)).min()
    assert np.abs(corners(fine) - corners(coarse)).max() < 1e-6 * pixel


def test_refined_placement_keeps_units_and_labels() -> None:
    placement = refined_placement(volume_layer(axis_labels=("z", "y", "x")), (4, 1, 1))
    assert [str(unit) for unit in placement["units"]] == [MM] * 3
    assert placement["axis_labels"] == ("z", "y", "x")


def test_describe_gives_spacing_through_an_affine() -> None:
    image = describe(Image(np.zeros((5, 7)), scale=(3, -0.5), affine=np.diag([2, 4, 1])))
    assert image.spacing == pytest.approx((6, 2))
    assert (image.dims, image.shape, image.units) == (("y", "x"), (5, 7), ("pixel", "pixel"))


@pytest.mark.parametrize(
    ("layer", "dims", "axes"),
    [
        (Image(np.zeros((4, 5, 6))), ("z", "y", "x"), ("z", "y", "x")),
        (Image(np.zeros((2, 4, 5, 6))), ("axis_0", "z", "y", "x"), ("", "z", "y", "x")),
        (Image(np.zeros((4, 5, 3)), rgb=True), ("y", "x"), ("y", "x")),
        (
            Image(np.zeros((4, 5, 6)), axis_labels=("band", "lat", "lon")),
            ("band", "lat", "lon"),
            ("", "y", "x"),
        ),
        (Image(np.zeros((4, 5, 6)), axis_labels=("a", "b", "c")), ("z", "y", "x"), ("z", "y", "x")),
    ],
)
def test_describe_names_the_axes(layer: Image, dims: tuple[str, ...], axes: tuple[str, ...]) -> None:
    image = describe(layer)
    assert (image.dims, image.axes) == (dims, axes)


def test_describe_takes_the_finest_level() -> None:
    layer = Image([np.zeros((8, 12)), np.zeros((4, 6))], multiscale=True)
    assert describe(layer).shape == (8, 12)


def test_to_array_gives_spacing_in_the_unit_of_the_model() -> None:
    layer = volume_layer(scale=(4000, 900, 800), units=["um"] * 3)
    da = to_array(layer, describe(layer), "mm")
    assert [float(np.diff(da[dim])[0]) for dim in "zyx"] == pytest.approx([4, 0.9, 0.8])


def test_to_array_states_no_spacing_in_pixels() -> None:
    layer = volume_layer(units=None)
    assert list(to_array(layer, describe(layer), "mm").coords) == []


def test_to_array_hides_z_of_a_stack_and_gives_it_back() -> None:
    layer = volume_layer()
    image = describe(layer, as_volume=False)
    da = to_array(layer, image)
    assert da.dims == ("z_planes", "y", "x")
    assert restore_names(da, image).dims == ("z", "y", "x")


def test_to_array_keeps_coordinates_of_a_dataarray() -> None:
    da = xr.DataArray(
        np.zeros((3, 4)), dims=("lat", "lon"), coords={"lat": [5.0, 4, 3], "lon": np.arange(4.0)}
    )
    layer = Image(da)
    array = to_array(layer, describe(layer))
    assert array.dims == ("y", "x")
    assert array.y.values.tolist() == [5, 4, 3]
    xr.testing.assert_identical(restore_names(array, describe(layer)), da)


def test_plan_states_the_grid_of_the_result() -> None:
    plan = make_plan(describe(volume_layer()), Settings("mr-through-x4", card()), free=10**9)
    assert (plan.shape, plan.spacing) == ((24, 8, 10), pytest.approx((1, 0.9, 0.8)))
    assert plan.nbytes == 24 * 8 * 10 * 2
    assert grid_rows(plan)[0] == ("z", "6", "4 mm", "24", "1 mm")
    assert (plan.refusal, plan.doubts) == ("", ())


def test_plan_refuses_what_does_not_fit_into_memory() -> None:
    settings = Settings("cubic", scale={"z": 1, "y": 2, "x": 2})
    plan = make_plan(describe(volume_layer()), settings, free=1000)
    assert plan.refusal.startswith(f"the run needs {size_text(4 * 960)} and 1000 B of memory is free; ")


def test_plan_lets_a_lazy_result_be_larger_than_the_memory() -> None:
    settings = Settings("cubic", scale={"z": 1, "y": 2, "x": 2}, is_lazy=True)
    assert make_plan(describe(volume_layer()), settings, free=1000).refusal == ""


def test_plan_refuses_to_do_nothing() -> None:
    assert "raise the scale" in make_plan(describe(volume_layer()), Settings("cubic")).refusal


def test_plan_refuses_complex_pixels() -> None:
    image = LayerImage(("y", "x"), ("y", "x"), (4, 5), (1.0, 1.0), ("pixel",) * 2, np.dtype(complex))
    assert "not real numbers" in make_plan(image, Settings("cubic", scale={"y": 2})).refusal


@pytest.mark.parametrize(
    ("layer", "model", "message"),
    [
        (Image(np.zeros((8, 10))), card(), "needs a z axis, and the layer has y, x; choose another"),
        (volume_layer(), card(axes=("y", "x"), scale=(2.0, 2.0), in_channels=4), "takes 4 bands together"),
    ],
)
def test_model_is_refused_for_a_layer_without_its_axes(layer: Image, model: ModelCard, message: str) -> None:
    assert message in refusal(model, describe(layer))


def test_model_for_any_factor_is_asked_by_how_much() -> None:
    model = card(axes=("y", "x"), scale=(1.0, 1.0), scale_range=((1.0, 4.0), (2.0, 3.0)), spatial_dims=2)
    assert card_text(model).startswith("refines y by 1 to 4, x by 2 to 3")
    layer = describe(Image(np.zeros((8, 10))))
    plan = make_plan(layer, Settings("any", model, {"y": 1, "x": 3}))
    assert (plan.refusal, plan.shape) == ("", (8, 30))
    assert plan.settings.arguments(layer)["scale"] == {"y": 1, "x": 3}


def test_factor_out_of_the_range_of_a_model_is_refused() -> None:
    model = card(axes=("y", "x"), scale=(1.0, 1.0), scale_range=((1.0, 4.0), (2.0, 3.0)), spatial_dims=2)
    plan = make_plan(describe(Image(np.zeros((8, 10)))), Settings("any", model, {"y": 2, "x": 4}))
    assert "refines x by 2 to 3, not 4; set its factor" in plan.refusal


@pytest.mark.parametrize(
    ("scale", "unit", "found"),
    [
        (4, "mm", []),
        (4000, "um", []),
        (9, "mm", ["z spacing 9 outside the trained 2 to 6 mm"]),
        (4, None, ["the layer states no mm along z, so its spacing is not checked"]),
    ],
)
def test_doubts_compare_spacing_in_one_unit(scale: float, unit: str | None, found: list[str]) -> None:
    layer = volume_layer(scale=(scale, 1, 1), units=unit and [unit] * 3)
    assert doubts(card(), describe(layer)) == found


def test_doubts_name_another_modality() -> None:
    image = describe(volume_layer())
    ct = LayerImage(**{**image.__dict__, "modality": "CT"})
    assert doubts(card(), ct) == ["modality CT where it was trained on MR"]


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (volume_layer(), "mr-through-x4"),
        (volume_layer(scale=(1, 1, 1)), "cubic"),
        (Image(np.zeros((8, 10))), "raster-x2"),
    ],
)
def test_best_model_fits_the_layer(layer: Image, name: str) -> None:
    raster = card(name="raster-x2", axes=("y", "x"), scale=(2.0, 2.0), modality="raster")
    gan = card(name="mr-through-x4-gan")
    assert best_model([gan, card(), raster], describe(layer)) == name


def test_copy_as_python_repeats_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = ViewerModel()
    values = np.random.default_rng(0).normal(size=(3, 6, 8)).astype(np.float32)
    layer = viewer.add_image(values, name="it's a layer")
    settings = Settings("cubic", scale={"z": 2, "y": 1, "x": 3}, tile=4)
    text = as_python(make_plan(describe(layer), settings, free=10**9), layer)
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    names: dict[str, Any] = {}
    exec(text, names)
    assert names["sr"].shape == (6, 6, 24)


def test_copy_as_command_repeats_the_run_of_a_file() -> None:
    layer = volume_layer(metadata={"sr_imaging": {"path": "/data/a scan.nii.gz"}})
    settings = Settings("cubic", scale={"z": 2, "y": 1, "x": 1}, device="cpu")
    plan = make_plan(describe(layer), settings, free=10**9)
    assert as_command(plan, layer) == (
        "sr-imaging upscale '/data/a scan.nii.gz' -o 'a scan_cubic.nii.gz' -m cubic "
        "--scale 2,1,1 --device cpu"
    )
    assert "sr_imaging.read('/data/a scan.nii.gz')" in as_python(plan, layer)


def test_copy_as_command_is_empty_without_a_file() -> None:
    layer = volume_layer()
    assert as_command(make_plan(describe(layer), Settings("cubic", scale={"z": 2}), free=10**9), layer) == ""


def test_north_is_down_until_the_view_is_turned() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((5, 7)), scale=(-10, 10))
    assert north_is_down(viewer, describe(layer), layer)
    turn_north_up(viewer)
    assert not north_is_down(viewer, describe(layer), layer)


def test_patient_is_not_turned() -> None:
    layer = volume_layer(scale=(1, -1, -1))
    assert not north_is_down(ViewerModel(), describe(layer), layer)
