"""The bundled models: small, documented, lawful, and better than cubic by their floors on unseen scans."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import sr_imaging
from sr_imaging.models.model_file import ZOO
from sr_imaging.training.config.run import read_config

NAMES = ["ct-through-x4", "mr-through-x4", "raster-x2"]
ALL = sorted([*NAMES, *(f"{name}-gan" for name in NAMES)])
RASTERS = (
    "aerial_hamburg_nocrs",
    "aerial_new_brunswick_50cm",
    "landsat5_nebraska_customcrs",
    "landsat7_olinda_6band",
    "landsat8_mendoza_float64",
    "landsat8_pan_robinson_memphis",
    "sentinel2_lake_nodata",
    "spacenet_pan_ms",
)
# model: scans it has not seen, least mean gain over cubic in dB
FLOORS = {
    "raster-x2": ([f"satellite/{name}" for name in RASTERS], 2.5),
    "mr-through-x4": (["medical/dcm_mr_t1_philips_elition_oblique"], 1.0),
    "ct-through-x4": (["medical/dcm_ct_body_siemens_mct_jpeg2000"], 0.7),
}


def test_list_models_names_the_bundled_ones() -> None:
    assert [card.name for card in sr_imaging.list_models()] == ALL


@pytest.mark.parametrize("name", ALL)
def test_bundled_model_is_small_and_its_card_is_filled(name: str) -> None:
    card = next(card for card in sr_imaging.list_models() if card.name == name)
    assert (ZOO / f"{name}.safetensors").stat().st_size < 1_000_000
    for fact in (
        "architecture",
        "modality",
        "degradation",
        "data_sources",
        "licence",
        "description",
        "versions",
    ):
        assert getattr(card, fact), fact
    assert card.values == {"kind": "equivariant"}
    assert card.spacing_range is not None
    assert card.bf16_loss_db is not None
    assert {"psnr", "psnr_cubic", "data"} <= set(card.metrics["test"])


@pytest.mark.parametrize("name", ALL)
def test_card_names_the_makers_of_its_data_as_the_run_does(name: str) -> None:
    card = next(card for card in sr_imaging.list_models() if card.name == name)
    run = read_config(ZOO / f"{name}.toml")
    assert card.data_sources == run.data_sources
    for source in card.data_sources:
        if "CC BY" in source:  # which asks for the makers' names
            assert re.search(r" et al\. \d{4}, | et al\., .* \d{4}, | contributors, ", source), source


@pytest.mark.parametrize("name", ALL)
def test_bundled_model_is_equivariant_in_gain_and_offset(name: str) -> None:
    model = sr_imaging.load_model(name)
    x = torch.rand(1, 1, *(7 + 2 * h for h in model.halo), generator=torch.Generator().manual_seed(0))
    moved = model(250.0 * x + 4000.0)
    # float32 keeps seven digits of values around 4000
    torch.testing.assert_close(moved, 250.0 * model(x) + 4000.0, rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", NAMES)
def test_gan_trained_weights_make_more_detail_than_pixel_trained_ones(name: str) -> None:
    rng = np.random.default_rng(0)
    lr = np.cumsum(np.cumsum(rng.normal(size=(24, 26, 28)), 1), 2).astype(np.float32)
    roughness = [
        np.abs(np.diff(sr_imaging.upscale(lr, model), axis=0 if "through" in model else 1)).mean()
        for model in (name, f"{name}-gan")
    ]
    assert roughness[1] > roughness[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_bundled_model_beats_cubic_by_its_floor_on_unseen_scans(name: str, shared_data: Path) -> None:
    folders, floor = FLOORS[name]
    report = sr_imaging.evaluate(name, [shared_data / folder for folder in folders])
    assert report.mean["gain"] >= floor, report.table()
