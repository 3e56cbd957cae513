"""Learning rates by step: the trace of every schedule, counted in batches."""

import numpy as np
import pytest

from sr_imaging.training.config.phases import ScheduleConfig
from sr_imaging.training.schedules import ramp, rate_at


def trace(schedule: ScheduleConfig, steps: int = 100) -> np.ndarray:
    return np.array([rate_at(schedule, 2.0, step, steps) for step in range(steps)])


@pytest.mark.parametrize("kind", ["constant", "step", "cosine", "inverse"])
def test_warmup_rises_evenly_to_the_highest_rate(kind: str) -> None:
    rates = trace(ScheduleConfig(kind, warmup=10))
    np.testing.assert_allclose(rates[:10], 2.0 * np.arange(1, 11) / 10)
    assert rates[10] == 2.0


def test_warmup_takes_half_of_a_short_phase_at_most() -> None:
    rates = trace(ScheduleConfig("constant", warmup=100), steps=8)
    np.testing.assert_allclose(rates, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0])


def test_constant_stays() -> None:
    assert set(trace(ScheduleConfig("constant", warmup=0))) == {2.0}


def test_step_falls_by_its_factor_after_every_so_many_batches() -> None:
    rates = trace(ScheduleConfig("step", warmup=5, every=30, factor=0.1))
    np.testing.assert_allclose(rates[5:35], 2.0)
    np.testing.assert_allclose(rates[35:65], 0.2)
    np.testing.assert_allclose(rates[65:95], 0.02)
    np.testing.assert_allclose(rates[95:], 0.002)


def test_cosine_ends_at_its_last_fraction() -> None:
    rates = trace(ScheduleConfig("cosine", warmup=10, last=0.1))
    place = (np.arange(10, 100) - 10) / 90
    np.testing.assert_allclose(rates[10:], 2.0 * (0.1 + 0.9 * (1 + np.cos(np.pi * place)) / 2))
    assert rates[55] == pytest.approx(2.0 * 0.55)


def test_inverse_falls_as_one_over_the_batches() -> None:
    rates = trace(ScheduleConfig("inverse", warmup=20, decay=0.05))
    np.testing.assert_allclose(rates[20:], 2.0 / (1 + 0.05 * np.arange(80)))


def test_ramp_grows_evenly_and_stays_at_one() -> None:
    assert [ramp(step, 4) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
