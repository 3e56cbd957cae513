"""The training loop: it learns, resumes exactly, refuses, stops cleanly."""

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio import Affine

from sr_imaging import CancelledError, ConfigError, ModelError, load_model, train
from sr_imaging.models.model_file import read_card
from sr_imaging.training.checkpoint import load_checkpoint
from sr_imaging.training.config.data import DataConfig, ModelConfig
from sr_imaging.training.config.phases import (
    AdversarialConfig,
    FeatureConfig,
    LoopConfig,
    PixelConfig,
    ScheduleConfig,
)
from sr_imaging.training.config.run import TrainConfig


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two smooth rasters in whose detail there is something to learn."""
    folder = tmp_path_factory.mktemp("scans")
    profile: dict[str, Any] = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:32632"}
    profile |= {"height": 80, "width": 100, "transform": Affine(10, 0, 500000, 0, -10, 5000000)}
    for number, name in enumerate(("a.tif", "b.tif")):
        rng = np.random.default_rng(number)
        values = np.kron(rng.normal(500, 80, size=(16, 20)), np.ones((5, 5))).astype(np.float32)
        with rasterio.open(folder / name, "w", **profile) as file:
            file.write(values[None])
    with rasterio.open(folder / "holes.tif", "w", nodata=-9, **profile) as file:
        values[::6] = -9  # no patch between them
        file.write(values[None])
    return folder


def pixel(steps: int, *, rate: float, warmup: int) -> PixelConfig:
    return PixelConfig(steps=steps, rate=rate, schedule=ScheduleConfig(warmup=warmup))


def tiny(output: Path, **changes: Any) -> TrainConfig:
    """Six pixel steps, then four adversarial ones."""
    config = TrainConfig(
        name="tiny",
        output=str(output),
        data=DataConfig(train=("a.tif", "b.tif"), patch=8, batch=3, per_plane=2, held_out=0.25),
        model=ModelConfig("espcn", {"scale": (2, 2), "channels": 8}),
        pixel=pixel(6, rate=2e-3, warmup=2),
        adversarial=AdversarialConfig(steps=4, ramp=2, feature_weight=0.1, arguments={"channels": 4}),
        loop=LoopConfig(checkpoint_every=3, validate_every=5),
        seed=3,
    )
    return replace(config, **changes)


def run(config: TrainConfig, scans: Path, **options: Any) -> Path:
    return train(config, data_root=scans, device="cpu", progress=False, **options)


def stop_at(step: int, error: type[Exception]) -> Any:
    def on_step(row: Mapping[str, Any]) -> None:
        if row["step"] == step:
            raise error("stop")

    return on_step


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(path).state_dict())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "tiny.csv").open() as file:
        return [
            {key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def unbroken(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert run(tiny(folder), scans) == folder / "tiny-gan.safetensors"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "error"),
    [
        (2, CancelledError),  # before the first regular checkpoint
        (5, RuntimeError),  # killed: goes back to step 3
        (6, RuntimeError),  # between the phases
        (8, CancelledError),  # in the adversarial phase
        (10, RuntimeError),  # at the very end
    ],
)
def test_resumed_run_equals_the_unbroken_run_bit_by_bit(
    step: int, error: type[Exception], scans: Path, unbroken: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match="stop"):
        run(tiny(tmp_path), scans, on_step=stop_at(step, error))
    torch.rand(7)  # the state of the process does not matter
    run(tiny(tmp_path), scans, resume=True)
    for name in ("tiny", "tiny-gan"):
        mine, theirs = (weights(folder / f"{name}.safetensors") for folder in (tmp_path, unbroken))
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert rows(tmp_path) == rows(unbroken)


@pytest.mark.slow
def test_run_learns_to_beat_cubic(scans: Path, tmp_path: Path) -> None:
    config = tiny(
        tmp_path,
        pixel=pixel(60, rate=4e-3, warmup=5),
        adversarial=AdversarialConfig(steps=0),
    )
    card = read_card(run(config, scans))
    assert card.metrics["gain_db"] > 0.3


@pytest.mark.slow
def test_seed_decides_the_run(scans: Path, unbroken: Path, tmp_path: Path) -> None:
    run(tiny(tmp_path, seed=4), scans)
    assert not torch.equal(
        weights(tmp_path / "tiny.safetensors")["tail.weight"],
        weights(unbroken / "tiny.safetensors")["tail.weight"],
    )


def test_card_is_filled_from_the_run(unbroken: Path) -> None:
    card = read_card(unbroken / "tiny.safetensors")
    assert card.scale == (2, 2)
    assert (card.spacing_range, card.spacing_unit) == ((20, 20), "m")
    assert card.degradation == "Gaussian of 0.4 LR pixels, then area mean"
    assert card.data_sources == ("a.tif", "b.tif")
    assert {"psnr", "psnr_cubic", "ssim", "ssim_cubic", "gain_db"} <= set(card.metrics)
    assert {"sr_imaging", "torch", "monai"} <= set(card.versions)
    assert read_card(unbroken / "tiny-gan.safetensors").name == "tiny-gan"


def test_card_of_fixed_values_states_their_range_in_training(scans: Path, tmp_path: Path) -> None:
    arguments = {"scale": (2, 2), "channels": 4, "fixed_values": (500.0, 80.0)}
    config = tiny(
        tmp_path, model=ModelConfig("transposed", arguments), adversarial=AdversarialConfig(steps=0)
    )
    low, high = read_card(run(config, scans)).value_range or (np.nan, np.nan)
    with rasterio.open(scans / "a.tif") as one, rasterio.open(scans / "b.tif") as other:
        seen = np.stack([one.read(1), other.read(1)])
    assert seen.min() <= low < 350 < 650 < high <= seen.max()  # a quarter is held out


def test_log_tells_both_phases(unbroken: Path) -> None:
    table = rows(unbroken)
    assert [(row["step"], row["phase"]) for row in table] == [
        ("5", "pixel"),
        ("6", "pixel"),
        ("10", "adversarial"),
    ]
    assert all(float(row["psnr"]) > 0 for row in table)
    assert 0 <= float(table[-1]["accuracy_hr"]) <= 1


def test_global_random_state_is_left_alone(scans: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    run(tiny(tmp_path, adversarial=AdversarialConfig(steps=0)), scans)
    assert torch.equal(torch.rand(3), wanted)


def test_diverging_run_stops_and_keeps_its_checkpoint(scans: Path, tmp_path: Path) -> None:
    def poison(row: Mapping[str, Any]) -> None:
        if row["step"] == 3:
            (tmp_path / "seen").write_bytes((tmp_path / "tiny.checkpoint.safetensors").read_bytes())

    config = tiny(
        tmp_path,
        pixel=pixel(9, rate=1e25, warmup=0),
        loop=LoopConfig(checkpoint_every=1, clip=0),
    )
    with pytest.raises(ModelError, match=r"generator diverged.*lower the rate"):
        run(config, scans, on_step=poison)
    assert (tmp_path / "tiny.checkpoint.safetensors").is_file()
    assert not (tmp_path / "tiny.safetensors").exists()


def test_start_takes_over_the_weights_of_a_model(scans: Path, unbroken: Path, tmp_path: Path) -> None:
    start = ModelConfig("espcn", {"scale": (2, 2), "channels": 8}, start=str(unbroken / "tiny.safetensors"))
    config = tiny(
        tmp_path, model=start, pixel=PixelConfig(steps=1, rate=1e-12), adversarial=AdversarialConfig(steps=0)
    )
    mine, theirs = weights(run(config, scans)), weights(unbroken / "tiny.safetensors")
    torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=0)


def test_start_with_other_weights_is_refused(scans: Path, unbroken: Path, tmp_path: Path) -> None:
    start = ModelConfig("espcn", {"scale": (2, 2), "channels": 6}, start=str(unbroken / "tiny.safetensors"))
    with pytest.raises(ConfigError, match="has other weights"):
        run(tiny(tmp_path, model=start), scans)


def test_resume_with_other_settings_names_the_setting(scans: Path, unbroken: Path) -> None:
    with pytest.raises(ConfigError, match=r"pixel\.rate was 0\.002 .* and is 0\.1 now"):
        run(
            tiny(unbroken, pixel=pixel(6, rate=0.1, warmup=2)),
            scans,
            resume=True,
        )


def test_resume_without_checkpoint_is_refused(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint"):
        run(tiny(tmp_path), scans, resume=True)


@pytest.mark.parametrize("name", ["tiny.checkpoint", "tiny", "tiny-gan"])
def test_earlier_run_is_never_replaced_unasked(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(b"earlier")
    remedy = "pass resume=True to go on, overwrite=True to start anew, or choose another name"
    with pytest.raises(ConfigError, match=f"{re.escape(str(path))} exists .*; {remedy}"):
        run(tiny(tmp_path), tmp_path / "no scans here")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b"earlier")]


def test_log_of_an_earlier_run_is_never_replaced_unasked(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.csv").write_text("earlier")
    with pytest.raises(ConfigError, match=r"tiny\.csv exists"):
        run(tiny(tmp_path), scans)
    assert (tmp_path / "tiny.csv").read_text() == "earlier"


@pytest.mark.slow
def test_other_runs_share_a_folder(scans: Path, tmp_path: Path) -> None:
    short = {"pixel": PixelConfig(steps=1), "adversarial": AdversarialConfig(steps=0)}
    for name in ("tiny-gan", "tiny", "tiny2"):
        assert run(tiny(tmp_path, name=name, **short), scans) == tmp_path / f"{name}.safetensors"


@pytest.mark.slow
def test_overwrite_starts_anew(scans: Path, unbroken: Path, tmp_path: Path) -> None:
    run(tiny(tmp_path, seed=4), scans)
    run(tiny(tmp_path), scans, overwrite=True)
    mine, theirs = (weights(folder / "tiny-gan.safetensors") for folder in (tmp_path, unbroken))
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert rows(tmp_path) == rows(unbroken)


@pytest.mark.slow
def test_resume_after_overwrite_never_finds_the_earlier_checkpoint(scans: Path, tmp_path: Path) -> None:
    run(tiny(tmp_path), scans)
    with pytest.raises(RuntimeError, match="stop"):
        run(tiny(tmp_path), scans, overwrite=True, on_step=stop_at(1, RuntimeError))
    seen: list[int] = []
    run(tiny(tmp_path), scans, resume=True, on_step=lambda row: seen.append(row["step"]))
    assert seen[0] == 1


def test_impossible_overwrite_keeps_the_earlier_run(scans: Path, tmp_path: Path) -> None:
    run(tiny(tmp_path), scans)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="finds nothing"):
        run(tiny(tmp_path, data=DataConfig(train=("c.tif",))), scans, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_resume_and_overwrite_exclude_each_other(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="both True; pass one of them"):
        run(tiny(tmp_path), scans, resume=True, overwrite=True)


@pytest.mark.slow
def test_lines_of_a_run_tell_its_start_its_tenths_and_its_validations(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sr_imaging.training.monitoring.log")
    run(
        tiny(
            tmp_path,
            pixel=pixel(36, rate=1e-3, warmup=2),
            loop=LoopConfig(validate_every=15),
        ),
        scans,
    )
    start, *lines = caplog.messages
    assert start == "training tiny: espcn, 36 pixel and 4 adversarial steps, 2 scans"
    assert [int(line.split()[1].split("/")[0]) for line in lines] == [
        4,
        8,
        12,
        15,
        16,
        20,
        24,
        28,
        30,
        32,
        36,
        40,
    ]
    assert [line for line in lines if "PSNR" in line] == [lines[k] for k in (3, 8, 10, 11)]
    number = r"\d+\.\d+"
    assert re.fullmatch(
        rf"step 30/40  pixel  loss {number}  PSNR {number} dB \([+-]{number} to cubic\)  0:00:\d\d left",
        lines[8],
    )
    assert re.fullmatch(rf"step 40/40  adversarial  loss {number}  PSNR .*  0:00:00 left", lines[-1])


def test_damaged_checkpoint_is_refused(unbroken: Path, tmp_path: Path) -> None:
    whole = (unbroken / "tiny.checkpoint.safetensors").read_bytes()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="not a complete checkpoint"):
        load_checkpoint(path, config=tiny(tmp_path), modules={}, optimisers={})


def test_model_file_is_no_checkpoint(unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a checkpoint of this version"):
        load_checkpoint(unbroken / "tiny.safetensors", config=tiny(tmp_path), modules={}, optimisers={})


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"pixel": PixelConfig(loss="l3")}, ConfigError, "unknown pixel.loss 'l3'"),
        ({"adversarial": AdversarialConfig(steps=1, loss="wgan2")}, ConfigError, "unknown adversarial.loss"),
        (
            {"adversarial": AdversarialConfig(steps=1, discriminator="x")},
            ConfigError,
            "unknown adversarial.discr",
        ),
        ({"adversarial": AdversarialConfig(loss="hing")}, ConfigError, "unknown adversarial.loss 'hing'"),
        ({"perceptual": FeatureConfig(network="vgg99")}, ConfigError, "unknown perceptual.network 'vgg99'"),
        (
            {"adversarial": AdversarialConfig(steps=1, arguments={"channels": 0})},
            ConfigError,
            "the discriminator cannot learn from patches of",
        ),
        *(
            (
                {"model": ModelConfig(name, {"scale": (2, 2), **wrong})},
                ConfigError,
                "the generator cannot learn",
            )
            for name, wrong in (
                ("espcn", {"channels": 1}),
                ("srresnet", {"channels": 0}),
                ("rrdb", {"growth": 0}),
            )
        ),
        (
            {"model": ModelConfig("srresnet", {"scale": (2, 2), "blocks": -2})},
            ModelError,
            "has 'blocks' -2; give",
        ),
        ({"model": ModelConfig("espcm", {"scale": (2, 2)})}, ModelError, "unknown architecture"),
        ({"model": ModelConfig("cubic", {"scale": (2, 2)})}, ConfigError, "nothing to train"),
        ({"data": DataConfig(train=("c.tif",))}, ConfigError, "'c.tif' finds nothing"),
        (
            {"data": DataConfig(train=("a.tif",), patch=(8, 8, 8))},
            ConfigError,
            "must have one number for each",
        ),
        ({"data": DataConfig(train=("a.tif",), validation=("*.tif",))}, ConfigError, "take it out of one"),
        ({"data": DataConfig(train=("holes.tif",), patch=8, batch=2)}, ConfigError, "no patch in 200 planes"),
        ({"data": DataConfig(("holes.tif",), patch=8, batch=2, workers=1)}, ConfigError, "^no patch in 200"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # of torch, before the error
def test_impossible_run_is_refused_before_it_starts(
    changes: dict[str, Any], error: type[Exception], match: str, scans: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=match):
        run(tiny(tmp_path, **changes), scans)
    assert not any(tmp_path.iterdir())


def test_unknown_device_is_refused(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown device 'gpu'"):
        train(tiny(tmp_path), data_root=scans, device="gpu", progress=False)


def test_device_that_is_not_here_is_refused(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device 'cuda:99' is not available here; use 'cpu'"):
        train(tiny(tmp_path), data_root=scans, device="cuda:99", progress=False)


def test_validation_on_other_scans_needs_no_held_out_part(scans: Path, tmp_path: Path) -> None:
    data = DataConfig(train=("a.tif",), validation=("b.tif",), patch=8, batch=2, validation_images=3)
    config = tiny(tmp_path, data=data, adversarial=AdversarialConfig(steps=0))
    assert read_card(run(config, scans)).metrics["data"].startswith("1 held-out image,")


@pytest.mark.parametrize("architecture", ["srresnet", "transposed"])
def test_held_out_scan_of_other_bands_is_refused_before_the_run_starts(
    architecture: str, scans: Path, tmp_path: Path
) -> None:
    with (
        rasterio.open(scans / "a.tif") as file,
        rasterio.open(tmp_path / "three.tif", "w", **{**file.profile, "count": 3}) as three,
    ):
        three.write(np.repeat(file.read(), 3, axis=0))
    data = DataConfig((str(tmp_path / "three.tif"),), validation=(str(scans / "a.tif"),), patch=8, batch=2)
    model = ModelConfig(architecture, {"scale": (2, 2), "in_channels": 3, "channels": 4})
    with pytest.raises(ConfigError, match=r"a\.tif has 1 bands, the model takes 3"):
        run(tiny(tmp_path / "runs", data=data, model=model), scans)
    assert not (tmp_path / "runs").exists()


def test_missing_validation_is_told(scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = DataConfig(train=("a.tif",), held_out=0.05, patch=8, batch=2)  # 4 rows, too few for an image
    run(
        tiny(tmp_path, data=data, pixel=pixel(1, rate=1e-3, warmup=0), adversarial=AdversarialConfig()), scans
    )
    assert "no validation: all that is held out is too small" in caplog.text


def test_checkpoint_is_as_readable_as_the_model(unbroken: Path) -> None:
    modes = {(unbroken / f"tiny{end}.safetensors").stat().st_mode for end in (".checkpoint", "", "-gan")}
    assert len(modes) == 1


@pytest.mark.slow
def test_bf16_run_saves_float32_weights(scans: Path, tmp_path: Path) -> None:
    path = run(tiny(tmp_path, loop=LoopConfig(precision="bf16")), scans)
    assert {tensor.dtype for tensor in weights(path).values()} == {torch.float32}
