"""Metrics agree with scikit-image and torchmetrics and count valid pixels only."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    multiscale_structural_similarity_index_measure,
    spectral_angle_mapper,
)

from sr_imaging import GridError
from sr_imaging.evaluation.metrics.pixels import data_range, ms_ssim, mse, psnr, ssim
from sr_imaging.evaluation.metrics.spectra import ergas, sam

RNG = np.random.default_rng(0)
HR = np.cumsum(RNG.normal(size=(31, 44)), axis=1)
SR = HR + 0.4 * RNG.normal(size=HR.shape)
BANDS = np.abs(RNG.normal(size=(4, 25, 36))) + 0.2
NOISY = BANDS + 0.1 * RNG.normal(size=BANDS.shape)


def large(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """An estimate and a truth with structure at every scale."""
    rng = np.random.default_rng(7)
    hr = rng.normal(size=shape).cumsum(-1).cumsum(-2)
    return hr + 40 * rng.normal(size=shape), hr


def as_batch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image)[None]


def test_psnr_equals_scikit_image() -> None:
    assert psnr(SR, HR, data_range=9.0) == pytest.approx(
        peak_signal_noise_ratio(HR, SR, data_range=9.0), abs=1e-9
    )


@pytest.mark.parametrize("shape", [(31, 44), (9, 12, 15)])
def test_ssim_equals_scikit_image(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    hr = rng.normal(size=shape)
    sr = hr + 0.3 * rng.normal(size=shape)
    assert ssim(sr, hr, data_range=4.0) == pytest.approx(
        structural_similarity(hr, sr, data_range=4.0), abs=1e-5
    )


@pytest.mark.parametrize("shape", [(176, 208), (203, 187)])
def test_ms_ssim_equals_torchmetrics(shape: tuple[int, int]) -> None:
    sr, hr = large(shape)
    theirs = multiscale_structural_similarity_index_measure(
        as_batch(sr[None]), as_batch(hr[None]), data_range=40.0
    )
    assert 0.3 < float(theirs) < 0.99
    assert ms_ssim(sr, hr, data_range=40.0) == pytest.approx(float(theirs), abs=1e-5)


def test_sam_equals_torchmetrics() -> None:
    theirs = spectral_angle_mapper(as_batch(NOISY), as_batch(BANDS))
    assert sam(NOISY, BANDS) == pytest.approx(float(theirs), abs=1e-5)


def test_ergas_equals_torchmetrics() -> None:
    theirs = error_relative_global_dimensionless_synthesis(as_batch(NOISY), as_batch(BANDS), ratio=3)
    assert ergas(NOISY, BANDS, scale=3) == pytest.approx(float(theirs), abs=1e-5)


def test_equal_images_have_infinite_psnr_and_unit_ssim() -> None:
    assert psnr(HR, HR, data_range=1.0) == np.inf
    assert ssim(HR, HR, data_range=1.0) == pytest.approx(1, abs=1e-12)


def test_equal_images_have_unit_ms_ssim() -> None:
    _, hr = large((176, 190))
    assert ms_ssim(hr, hr, data_range=1.0) == pytest.approx(1, abs=1e-12)


def test_ms_ssim_of_a_volume_is_that_of_its_slice_where_all_are_alike() -> None:
    sr, hr = (np.repeat(image.astype(np.float32)[None], 176, 0) for image in large((176, 176)))
    flat = ms_ssim(sr[0], hr[0], data_range=40.0)
    assert ms_ssim(sr, hr, data_range=40.0) == pytest.approx(flat, abs=1e-9)


def test_invalid_pixels_do_not_count() -> None:
    valid = np.ones(HR.shape, bool)
    valid[:, 20:] = False
    wild = np.where(valid, SR, 1e6)
    assert psnr(wild, HR, data_range=9.0, valid=valid) == pytest.approx(
        psnr(SR[:, :20], HR[:, :20], data_range=9.0)
    )
    assert ssim(wild, HR, data_range=9.0, valid=valid) == pytest.approx(
        ssim(SR[:, :20], HR[:, :20], data_range=9.0), abs=1e-9
    )


def test_invalid_pixels_do_not_count_at_any_scale() -> None:
    sr, hr = large((400, 190))
    hr[230:] = np.nan
    wild = sr.copy()
    wild[230:] = 1e6
    assert ms_ssim(wild, hr, data_range=40.0) == ms_ssim(sr, hr, data_range=40.0)


def test_invalid_spectra_do_not_count() -> None:
    valid = np.ones(BANDS.shape, bool)
    valid[2, :, 30:] = False  # one band is enough
    wild = np.where(valid, NOISY, 1e6)
    kept = NOISY[:, :, :30], BANDS[:, :, :30]
    assert sam(wild, BANDS, valid=valid) == pytest.approx(sam(*kept))
    assert ergas(wild, BANDS, scale=2, valid=valid) == pytest.approx(ergas(*kept, scale=2))


def test_nan_counts_as_invalid() -> None:
    holed = HR.copy()
    holed[3, 4] = np.nan
    keep = np.isfinite(holed)
    assert mse(SR, holed) == pytest.approx(np.mean((SR[keep] - HR[keep]) ** 2))


def test_spectral_angle_ignores_brightness_and_measures_radians() -> None:
    assert sam(3 * BANDS, BANDS) == pytest.approx(0, abs=1e-6)
    ones = np.ones((2, 3, 3))
    axis = np.stack([np.ones((3, 3)), np.zeros((3, 3))])
    assert sam(axis, ones) == pytest.approx(np.pi / 4)


def test_small_spectral_angle_keeps_its_digits() -> None:
    ones = np.ones((2, 3, 4))
    turned = np.stack([np.ones((3, 4)), np.full((3, 4), 1 + 2e-9)])
    assert sam(turned, ones) == pytest.approx(1e-9, rel=1e-6)


@pytest.mark.parametrize(
    ("sr", "hr", "angle"), [(0.0, 0.0, 0.0), (0.0, 2.0, np.pi / 2), (2.0, 0.0, np.pi / 2)]
)
def test_spectral_angle_is_defined_where_a_pixel_is_zero(sr: float, hr: float, angle: float) -> None:
    x, y = np.ones((3, 2, 5)), np.ones((3, 2, 5))
    x[:, 0, 0], y[:, 0, 0] = sr, hr
    assert sam(x, y) == pytest.approx(angle / 10)


def test_ergas_is_relative_to_the_mean_of_each_band() -> None:
    hr = np.stack([np.full((4, 5), 2.0), np.full((4, 5), 50.0)])
    sr = hr + np.array([0.2, 5.0])[:, None, None]  # a tenth of either
    assert ergas(sr, hr, scale=4) == pytest.approx(100 / 4 * 0.1)


def test_data_range_is_that_of_the_percentiles() -> None:
    values = np.arange(1001.0)
    values[-1] = 1e9
    assert data_range(values) == pytest.approx(990)


MIXED = np.stack([np.full((3, 4), 2.0), np.array([[1.0, -1.0, 1.0, -1.0]] * 3)])
HOLED = np.where(np.indices((180, 190)).sum(0) % 5 > 0, 1.0, np.nan)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: mse(HR[1:], HR), "differ"),
        (lambda: mse(HR, HR, valid=np.zeros(HR.shape, bool)), "no pixel is valid"),
        (lambda: ssim(HR[:5], HR[:5], data_range=1.0), "smaller than the SSIM window"),
        (lambda: ssim(HR, HR, data_range=1.0, valid=np.indices(HR.shape).sum(0) % 5 > 0), "no window"),
        (lambda: ms_ssim(np.ones((175, 300)), np.ones((175, 300)), data_range=1.0), "fewer than 176"),
        (lambda: ms_ssim(HOLED, HOLED, data_range=1.0), "no window without nodata"),
        (lambda: sam(BANDS, BANDS, valid=np.indices(BANDS.shape)[0] > 0), "no pixel is valid in all bands"),
        (lambda: ergas(np.ones((2, 3, 4)), MIXED, scale=2), "band 2 has a mean of zero"),
    ],
)
def test_nothing_to_measure_is_refused(call: object, match: str) -> None:
    with pytest.raises(GridError, match=match):
        call()  # type: ignore[operator]
