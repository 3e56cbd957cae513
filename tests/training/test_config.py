"""Settings: strict TOML, types, impossible values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sr_imaging
from sr_imaging import ConfigError
from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.networks import build_generator
from sr_imaging.training.config.data import DataConfig
from sr_imaging.training.config.phases import FeatureConfig, LoopConfig, ScheduleConfig
from sr_imaging.training.config.run import TrainConfig, parse_config, read_config

LEAST: dict[str, Any] = {"name": "run", "data": {"train": ["*.tif"]}}
ZOO = Path(sr_imaging.__file__).parent / "models/zoo"


def changed(path: str, value: object) -> dict[str, Any]:
    """The least settings with one more."""
    table: dict[str, Any] = {"name": "run", "data": {"train": ["*.tif"]}}
    *parents, key = path.split(".")
    inner = table
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[key] = value
    return table


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("data.pacth", "data.patch"),
        ("pixel.step", "pixel.steps"),
        ("seeds", "seed"),
        ("loop.emma", "loop.ema"),
    ],
)
def test_unknown_key_names_its_neighbour(path: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key '{path}'.*did you mean '{near}'"):
        parse_config(changed(path, 1))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("pixel.rate", float("inf")),
        ("pixel.terms", {"ssim": float("inf")}),
        ("pixel.schedule", {"decay": float("nan")}),
        ("degradation.noise_zero", float("nan")),
        ("model.arguments", {"scale": [2, 2], "fixed_values": [float("nan"), 1.0]}),
        ("loop.clip", float("inf")),
    ],
)
def test_number_that_is_not_finite_is_refused(path: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"is not finite; give a number"):
        parse_config(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("seed", 2**64, r"^seed must be at least 0 and below 9\d+, got 18\d+; give for example 0$"),
        ("name", "a\0b", "must be a plain file name"),
        ("data.validation_images", 0, "hold nothing out"),
        ("degradation", {"noise_sigma": 0.5}, "have no kind; set noise"),
        ("degradation", {"noise": "gaussian"}, "has no strength; set noise_sigma"),
        (
            "degradation",
            {"noise": "rician", "noise_sigma": 0.1, "noise_gain": 0.1},
            "is of 'poisson-gaussian'",
        ),
        ("degradation", {"thickness": 0.8}, "is of slices, and psf is gaussian"),
    ],
)
def test_setting_that_would_do_nothing_or_harm_is_refused(path: str, value: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_config(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.patch", "32"),
        ("data.patch", 3.5),
        ("data.patch", True),
        ("data.train", "a.tif"),
        ("data.train", [1]),
        ("data.clip", [1.0]),
        ("pixel.steps", 1.5),
        ("pixel.rate", "fast"),
        ("model", "srresnet"),
        ("model.arguments", [2]),
        ("degradation.sigma", [0.1, 0.2, 0.3]),
    ],
)
def test_wrong_type_is_refused(path: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{path} in .*; correct its type"):
        parse_config(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        ("data.train", [], "names no scans"),
        ("data.patch", 0, "must be at least 1, got 0 LR pixels; give for example 32"),
        ("data.patch", [8, -1], r"must be at least 1, got \(8, -1\) LR pixels"),
        ("data.batch", 0, "data.batch must be at least 1, got 0 patches; give for example 16"),
        ("data.held_out", 1.0, "must be at least 0 and below 1, got 1.0; give for example 0.1"),
        ("data.clip", [5, 5], "must be a lower and a higher value"),
        ("model.arguments", {"scale": [1, 1]}, "whole factors above 1"),
        ("model.arguments", {"scale": [2.5, 2]}, "whole factors above 1"),
        ("model.arguments", {"channels": 3}, "whole factors above 1"),
        ("degradation.psf", "disc", "unknown degradation.psf 'disc'; use one of gaussian, box"),
        ("degradation.sigma", [0.5, 0.4], "must be above 0 and below 10, the lower one first, got"),
        ("pixel.steps", 0, "both 0"),
        ("pixel.rate", -1.0, "pixel.rate must be above 0, got -1.0; give for example 0.001"),
        ("adversarial.weight", -1.0, "must be at least 0, got -1.0"),
        ("loop.precision", "fp8", "unknown loop.precision"),
        ("loop.ema", 1.0, "must be at least 0 and below 1, got 1.0"),
        ("loop.patience", 2, "nothing is held out"),
        ("perceptual.weights", "vgg.safetensors", "for the adversarial phase, which has no steps"),
        ("name", "a/b", "must be a plain file name"),
    ],
)
def test_impossible_value_is_refused(path: str, value: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_config(changed(path, value))


@pytest.mark.parametrize("missing", ["name", "data"])
def test_missing_key_is_named(missing: str) -> None:
    table = {key: value for key, value in LEAST.items() if key != missing}
    with pytest.raises(ConfigError, match=f"lacks the key '{missing}'"):
        parse_config(table)


def test_toml_arrays_and_whole_numbers_become_tuples_and_floats(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('name = "a"\n[data]\ntrain = ["b"]\npatch = [8, 16]\n[degradation]\nsigma = [0, 1]\n')
    with pytest.raises(
        ConfigError, match=r"degradation.sigma must be above 0 and below 10, .* got \(0.0, 1.0\) LR pixels"
    ):
        read_config(path)
    path.write_text(path.read_text().replace("[0, 1]", "1"))
    config = read_config(path)
    assert config.data.patch == (8, 16)
    assert isinstance(config.degradation.sigma, float)


def test_file_that_is_no_toml_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    with pytest.raises(ConfigError, match=r"cannot read .*run\.toml"):
        read_config(path)
    path.write_text("name = [")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_config(path)


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_settings_build_their_model(path: Path) -> None:
    config = read_config(path)
    generator = build_generator(config.model.architecture, config.model.arguments)
    assert config.name == path.stem.removesuffix("-gan")  # the adversarial phase adds it
    assert generator.scale == tuple(config.model.arguments["scale"])
    assert config.data.root == ""


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.toml")), ids=lambda path: path.stem)
def test_bundled_settings_train_on_training_scans_only(path: Path, shared_data: Path) -> None:
    index = (shared_data / "INDEX.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0].strip(): part for part in index.split("\n## ")}
    allowed = "".join(text for title, text in sections.items() if title.endswith(": train"))
    data = read_config(path).data
    assert {folder for folder in (*data.train, *data.validation) if f"`{folder}`" not in allowed} == set()


def test_settings_of_python_and_toml_are_one_type() -> None:
    assert isinstance(parse_config(LEAST), TrainConfig)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (lambda: ScheduleConfig("stairs"), "unknown schedule.kind 'stairs'; use one of constant, step"),
        (lambda: FeatureConfig(weight=-0.1), "perceptual/content.weight must be at least 0, got -0.1"),
        (lambda: DataConfig(("a.tif",), patch=()), r"data.patch must be at least 1, got \(\) LR pixels"),
        (lambda: DegradationConfig(psf=("box", "disc")), "unknown degradation.psf 'disc'"),
        (lambda: DegradationConfig(fwhm=20.0), "fwhm must be above 0 and below 20, got 20.0 LR pixels"),
        (lambda: DegradationConfig(scale=(0.5, 2.0)), "scale must be at least 1, the lower one first, got"),
        (lambda: DegradationConfig(scale=2.0), "scale must be a lower and a higher factor, got 2.0"),
        (lambda: DegradationConfig(sigma=(0.4, 0.5, 0.6)), r"the lower one first, got \(0.4, 0.5, 0.6\)"),
        (
            lambda: DegradationConfig(psf="box", thickness=None),
            "thickness must be above 0 and below 10, got None",
        ),
        (
            lambda: DegradationConfig(noise=("gaussian",), noise_sigma=0.1),
            r"noise \('gaussian',\); use one of",
        ),
        (lambda: DataConfig(("a.tif",), held_out=None), "held_out must be at least 0 and below 1, got None"),
        (lambda: DataConfig(("a.tif",), batch=(4, 4)), r"batch must be at least 1, got \(4, 4\) patches"),
        (lambda: DataConfig(("a.tif",), nan=()), r"unknown data.nan \(\); use one of refuse, nodata"),
        (lambda: LoopConfig(clip="1"), "loop.clip must be at least 0, got '1'"),
    ],
)
def test_impossible_value_is_refused_in_python_as_well(settings: Callable[[], object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        settings()


def test_lists_of_python_are_taken_like_tuples() -> None:
    data = DataConfig(("a.tif",), patch=[16, 24])
    degradation = DegradationConfig(psf=["box", "gaussian"], sigma=[0.3, 0.5], scale=[2, 4])
    assert data.patch == [16, 24]
    assert [psf.kind for psf in degradation.psfs(2)] == ["box", "gaussian"]
    assert degradation.psfs(2)[1].sigma == pytest.approx(0.4)
