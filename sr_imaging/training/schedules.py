"""How a learning rate and a weight move with the steps of a phase."""

from math import cos, pi

from sr_imaging.training.config.phases import ScheduleConfig

__all__ = ["ramp", "rate_at"]


def rate_at(schedule: ScheduleConfig, highest: float, step: int, steps: int) -> float:
    """Return the learning rate after `step` of `steps` steps of a phase, at most `highest`.

    Cosine after I. Loshchilov and F. Hutter, "SGDR", ICLR 2017, eq. 5; warm-up after P. Goyal et al.,
    "Accurate, large minibatch SGD", 2017, section 2.2.

    >>> [rate_at(ScheduleConfig("step", warmup=2, every=2), 1.0, step, 6) for step in range(6)]
    [0.5, 1.0, 1.0, 1.0, 0.5, 0.5]
    """
    warmup = min(schedule.warmup, steps // 2)
    if step < warmup:
        return highest * (step + 1) / warmup
    since = step - warmup
    if schedule.kind == "step":
        return highest * schedule.factor ** (since // schedule.every)
    if schedule.kind == "inverse":
        return highest / (1 + schedule.decay * since)
    if schedule.kind == "cosine":
        place = since / max(1, steps - warmup)
        return highest * (schedule.last + (1 - schedule.last) * (1 + cos(pi * place)) / 2)
    return highest


def ramp(step: int, steps: int) -> float:
    """Return a weight that grows evenly from 0 at step 0 to 1 at `steps`.

    >>> ramp(5, 10), ramp(50, 10), ramp(0, 0)
    (0.5, 1.0, 1.0)
    """
    return min(1.0, step / steps) if steps > 0 else 1.0
