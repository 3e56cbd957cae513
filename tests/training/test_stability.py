"""The watch over a run: when it acts, what it does, that it remembers over a checkpoint."""

import json
from typing import Any

import pytest

from sr_imaging import ModelError
from sr_imaging.training.monitoring.stability import WINDOW, Watch


def row(step: int, **changes: Any) -> dict[str, Any]:
    """A step of a healthy adversarial phase."""
    norms = {"gradient_norm": 1.0, "discriminator_norm": 3.0}
    sound = {"step": step, "accuracy_hr": 0.7, "accuracy_sr": 0.8, "diversity": 0.9}
    return sound | norms | changes


def look_through(watch: Watch, rows: list[dict[str, Any]]) -> None:
    for one in rows:
        watch.look(one)


def test_healthy_run_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    look_through(watch, [row(step, gradient_norm=1.0 + step % 50) for step in range(5 * WINDOW)])
    assert (watch.factor("generator"), watch.factor("discriminator")) == (1.0, 1.0)
    assert not caplog.records


def test_discriminator_that_has_won_is_slowed_down_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    for step in range(WINDOW):
        assert watch.factor("discriminator") == 1.0
        watch.look(row(step, accuracy_hr=1.0, accuracy_sr=0.99))
    assert watch.factor("discriminator") == 0.5
    assert watch.factor("generator") == 1.0
    assert caplog.messages == [
        f"step {WINDOW - 1}: the rate of the discriminator is halved: it has won (99.5% right for 100 steps)"
    ]


def test_discriminator_is_slowed_down_five_times_and_then_left_alone() -> None:
    watch, won = Watch(), {"accuracy_hr": 1.0, "accuracy_sr": 1.0}
    look_through(watch, [row(step, **won) for step in range(5 * WINDOW - 1)])
    assert watch.factor("discriminator") == 0.5**4
    look_through(watch, [row(step, **won) for step in range(5 * WINDOW)])
    assert watch.factor("discriminator") == 0.5**5


def test_critic_that_is_meant_to_win_keeps_its_rate() -> None:
    watch = Watch()
    for step in range(3 * WINDOW):
        watch.look(row(step, accuracy_hr=1.0, accuracy_sr=1.0), wins_matter=False)
    assert watch.factor("discriminator") == 1.0


def test_run_whose_gradient_keeps_exploding_ends() -> None:
    watch = Watch()
    look_through(watch, [{"step": step, "gradient_norm": 2.0} for step in range(WINDOW)])
    look_through(watch, [{"step": WINDOW + k, "gradient_norm": 999.0} for k in range(5)])
    assert watch.factor("generator") == 0.5**5
    with pytest.raises(ModelError, match=r"the generator is unstable: its gradient .* halved 5 times; lower"):
        watch.look({"step": 2 * WINDOW, "gradient_norm": 999.0})


def test_collapsed_output_ends_the_run() -> None:
    watch = Watch()
    look_through(watch, [row(step, diversity=0.01) for step in range(WINDOW - 1)])
    with pytest.raises(ModelError, match=r"the generator collapsed: .* 0\.01 times as much .*; lower"):
        watch.look(row(WINDOW, diversity=0.01))


def test_exploding_gradient_slows_the_generator_down(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    for step in range(WINDOW):
        watch.look({"step": step, "gradient_norm": 2.0})  # the pixel phase has no discriminator
    watch.look({"step": WINDOW, "gradient_norm": 201.0})
    assert watch.factor("generator") == 0.5
    assert "a norm of 201 where 2 is usual" in caplog.text


def test_exploding_discriminator_is_slowed_down_alone(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    look_through(watch, [row(step) for step in range(WINDOW)])
    watch.look(row(WINDOW, discriminator_norm=301.0))
    assert (watch.factor("generator"), watch.factor("discriminator")) == (1.0, 0.5)
    assert "the rate of the discriminator is halved: its gradient has a norm of 301 where 3 is" in caplog.text


def test_discriminator_that_keeps_exploding_ends_the_run_whatever_it_had_won() -> None:
    watch, won = Watch(), {"accuracy_hr": 1.0, "accuracy_sr": 1.0}
    look_through(watch, [row(step, **won) for step in range(5 * WINDOW)])
    look_through(watch, [row(5 * WINDOW + k, discriminator_norm=1e3) for k in range(5)])
    assert watch.factor("discriminator") == 0.5**10
    with pytest.raises(ModelError, match="the discriminator is unstable: its gradient"):
        watch.look(row(6 * WINDOW, discriminator_norm=1e3))


def test_outlier_does_not_move_what_is_usual() -> None:
    watch = Watch()
    for step in range(WINDOW):
        watch.look({"step": step, "gradient_norm": 2.0})
    watch.look({"step": WINDOW, "gradient_norm": 1e9})
    assert max(watch.seen["gradient_norm"]) == 2.0


def test_restored_watch_acts_as_the_unbroken_one() -> None:
    whole, first = Watch(), Watch()
    rows = [row(step, accuracy_hr=1.0, accuracy_sr=1.0, gradient_norm=1.0 + step % 7) for step in range(250)]
    look_through(whole, rows)
    look_through(first, rows[:130])
    second = Watch.of(json.loads(json.dumps(first.state())))
    look_through(second, rows[130:])
    assert second == whole
    assert whole.factor("discriminator") == 0.25
