"""Fourier correlation: rings where they belong, the period at which detail ends, valid blocks only."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sr_imaging import GridError
from sr_imaging.evaluation.metrics.fourier import FourierCorrelation, fourier_correlation


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def low_pass(image: np.ndarray, spacing: tuple[float, ...], highest: float) -> np.ndarray:
    """The image without frequencies above `highest`, in cycles per unit."""
    along = np.meshgrid(
        *(np.fft.fftfreq(n, d) for n, d in zip(image.shape, spacing, strict=True)), indexing="ij"
    )
    keep = np.sqrt(sum(f**2 for f in along)) <= highest
    return np.fft.ifftn(np.fft.fftn(image) * keep).real


def test_equal_images_correlate_up_to_two_pixels() -> None:
    found = fourier_correlation(noise((70, 90)), noise((70, 90)), spacing=(2.0, 3.0))
    np.testing.assert_allclose(found.correlation, 1, atol=1e-12)
    assert found.resolution() == pytest.approx(6)


@pytest.mark.parametrize(
    ("shape", "spacing", "highest"),
    [((160, 200), (1.0, 1.0), 0.25), ((150, 190), (10.0, 12.0), 0.02), ((66, 70, 80), (1.0, 0.8, 0.9), 0.3)],
)
def test_resolution_is_the_period_at_which_detail_ends(
    shape: tuple[int, ...], spacing: tuple[float, ...], highest: float
) -> None:
    hr = noise(shape)
    known = low_pass(hr, spacing, highest)
    sr = known + (noise(shape, 1) - low_pass(noise(shape, 1), spacing, highest))  # invented detail
    found = fourier_correlation(sr, hr, spacing=spacing)
    step = 1 / (64 * min(spacing))
    assert 1 / found.resolution() == pytest.approx(highest, abs=step)  # to a ring


def test_correlation_is_that_of_signal_and_noise() -> None:
    hr = noise((256, 320))
    found = fourier_correlation(hr + 0.5 * noise(hr.shape, 1), hr, spacing=(1.0, 1.0))
    assert np.mean(found.correlation) == pytest.approx(1 / np.sqrt(1.25), abs=0.01)  # sampling error 0.003


def test_correlation_ignores_gain_and_offset() -> None:
    hr = gaussian_filter(noise((80, 96)), 1)
    sr = hr + 0.1 * noise(hr.shape, 1)
    first, second = (fourier_correlation(x, hr, spacing=(1, 1)).correlation for x in (sr, 40 * sr - 1000))
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_frequencies_count_along_the_given_axes_only() -> None:
    hr = noise((80, 24, 20))
    coarse, other = (
        low_pass(image.reshape(80, -1), (1.0, 1e9), 0.125).reshape(hr.shape)
        for image in (hr, noise(hr.shape, 1))
    )
    sr = coarse + noise(hr.shape, 1) - other  # invented along z beyond 8 pixels
    along_z = fourier_correlation(sr, hr, spacing=(0.5,), axes=(0,))
    assert 1 / along_z.resolution() == pytest.approx(1 / 4, abs=1 / 32)  # to a ring
    along_x = fourier_correlation(sr, hr, spacing=(0.7,), axes=(2,))
    assert along_x.resolution() == pytest.approx(1.4)


def test_blocks_with_an_invalid_pixel_do_not_count() -> None:
    hr, sr = noise((96, 128)), noise((96, 128)) + 0.3 * noise((96, 128), 1)
    holed = hr.copy()
    holed[5, 3] = np.nan
    wild = sr.copy()
    wild[5, 3] = 1e9
    valid = np.ones(hr.shape, bool)
    valid[5, 3] = False
    first = fourier_correlation(wild, hr, spacing=(1, 1), valid=valid)
    assert first == fourier_correlation(sr, holed, spacing=(1, 1))
    assert np.mean(first.correlation) == pytest.approx(1 / np.sqrt(1.09), abs=0.02)


def test_smaller_blocks_are_taken_where_holes_are_close() -> None:
    hr = noise((90, 100))
    hr[::40, ::40] = np.nan
    found = fourier_correlation(hr, hr, spacing=(1.0, 1.0))
    assert len(found.frequency) == 16  # rings of a block of 32


def test_resolution_lies_between_rings() -> None:
    found = FourierCorrelation((0.1, 0.2, 0.3), (0.9, 0.6, 0.1), 0.3)
    assert found.resolution(0.35) == pytest.approx(1 / 0.25)
    assert found.resolution(0.05) == pytest.approx(1 / 0.3)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: fourier_correlation(noise((15, 40)), noise((15, 40)), spacing=(1, 1)), "shorter than 16"),
        (lambda: fourier_correlation(np.ones((20, 40)), noise((20, 40)), spacing=(1, 1)), "constant"),
        (
            lambda: fourier_correlation(
                noise((40, 50)),
                noise((40, 50)),
                spacing=(1, 1),
                valid=np.indices((40, 50)).sum(0) % 12 > 0,
            ),
            "no block of 16",
        ),
    ],
)
def test_nothing_to_correlate_is_refused(call: object, match: str) -> None:
    with pytest.raises(GridError, match=match):
        call()  # type: ignore[operator]
