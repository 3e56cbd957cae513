"""Metrics agree with scikit-image and count valid pixels only."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sr_imaging import GridError
from sr_imaging.metrics import data_range, mse, psnr, sam, ssim

RNG = np.random.default_rng(0)
HR = np.cumsum(RNG.normal(size=(31, 44)), axis=1)
SR = HR + 0.4 * RNG.normal(size=HR.shape)


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


def test_equal_images_have_infinite_psnr_and_unit_ssim() -> None:
    assert psnr(HR, HR, data_range=1.0) == np.inf
    assert ssim(HR, HR, data_range=1.0) == pytest.approx(1, abs=1e-12)


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


def test_nan_counts_as_invalid() -> None:
    holed = HR.copy()
    holed[3, 4] = np.nan
    keep = np.isfinite(holed)
    assert mse(SR, holed) == pytest.approx(np.mean((SR[keep] - HR[keep]) ** 2))


def test_spectral_angle_ignores_brightness_and_measures_radians() -> None:
    hr = np.abs(RNG.normal(size=(4, 5, 6))) + 0.1
    assert sam(3 * hr, hr) == pytest.approx(0, abs=1e-6)
    ones = np.ones((2, 3, 3))
    axis = np.stack([np.ones((3, 3)), np.zeros((3, 3))])
    assert sam(axis, ones) == pytest.approx(np.pi / 4)


def test_data_range_is_that_of_the_percentiles() -> None:
    values = np.arange(1001.0)
    values[-1] = 1e9
    assert data_range(values) == pytest.approx(990)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: mse(HR[1:], HR), "differ"),
        (lambda: mse(HR, HR, valid=np.zeros(HR.shape, bool)), "no pixel is valid"),
        (lambda: ssim(HR[:5], HR[:5], data_range=1.0), "smaller than the SSIM window"),
        (lambda: ssim(HR, HR, data_range=1.0, valid=np.indices(HR.shape).sum(0) % 5 > 0), "no window"),
        (lambda: sam(np.zeros((2, 3, 3)), np.ones((2, 3, 3))), "spectral angle"),
    ],
)
def test_nothing_to_measure_is_refused(call: object, match: str) -> None:
    with pytest.raises(GridError, match=match):
        call()  # type: ignore[operator]
