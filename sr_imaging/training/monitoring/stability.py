"""A watch over a training run: it sees from the numbers that a GAN goes wrong, acts, and reports it.

What it remembers is plain lists and numbers, so that a checkpoint keeps it and a resumed run acts as the
unbroken one would have.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from sr_imaging.errors import ModelError

__all__ = ["Watch"]

log = logging.getLogger(__name__)
WINDOW = 100  # steps that a judgement looks back on
WON = 0.98  # accuracy of the discriminator at which it has nothing left to teach
COLLAPSED = 0.1  # diversity of SR over that of HR
EXPLODED = 100.0  # gradient norm over its median
PATIENCE = 5  # times that a rate is halved
_NORMS = {"generator": "gradient_norm", "discriminator": "discriminator_norm"}  # columns of the log


@dataclass
class Watch:
    """What was seen lately, and by how much each network's rate was lowered for it."""

    seen: dict[str, list[float]] = field(default_factory=dict)  # the last numbers by name, at most WINDOW
    lowered: dict[str, int] = field(default_factory=dict)  # times that a rate was halved for its gradient
    won: int = 0  # times that the discriminator's rate was halved since it had won

    def factor(self, network: str) -> float:
        """Return what the scheduled rate of a network is multiplied by: 1, a half, a quarter, …."""
        return 0.5 ** (self.lowered.get(network, 0) + (self.won if network == "discriminator" else 0))

    def look(self, row: Mapping[str, Any], *, wins_matter: bool = True) -> None:
        """Take in the numbers of a step; lower a rate where they ask for it, for a win only if `wins_matter`.

        Raises `ModelError` if the output has collapsed, or a gradient explodes after its rate was halved for
        that five times.
        """
        for network, column in _NORMS.items():
            if explosion := self._find_explosion(column, row.get(column, 0.0)):
                self._lower_rate(network, row["step"], explosion)
        if "accuracy_hr" not in row:
            return
        accuracy = self._update_mean("accuracy", (row["accuracy_hr"] + row["accuracy_sr"]) / 2)
        if wins_matter and accuracy > WON and self.won < PATIENCE:
            del self.seen["accuracy"]
            self.won += 1
            won = f"it has won ({accuracy:.1%} right for {WINDOW} steps)"
            _report_halving("discriminator", row["step"], won)
        diversity = self._update_mean("diversity", row["diversity"], empty=1.0)
        if diversity < COLLAPSED:
            raise ModelError(
                f"the generator collapsed: for {WINDOW} steps its patches differed {diversity:.2g} times as "
                "much as real ones; lower adversarial.weight or its rate and start anew"
            )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"seen": self.seen, "lowered": self.lowered, "won": self.won}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Watch":
        """Return the watch that a checkpoint kept."""
        seen = {key: list(values) for key, values in state["seen"].items()}
        return cls(seen, dict(state["lowered"]), state["won"])

    def _update_mean(self, name: str, value: float, *, empty: float = 0.0) -> float:
        """Return the mean over the window with one more value, or `empty` before it is full."""
        values = self.seen.setdefault(name, [])
        values.append(value)
        del values[:-WINDOW]
        return fmean(values) if len(values) == WINDOW else empty

    def _find_explosion(self, column: str, norm: float) -> str:
        """Return what exploded where a gradient is far beyond those before; it is not counted among them."""
        norms = self.seen.setdefault(column, [])
        usual = median(norms) if len(norms) == WINDOW else float("inf")
        if norm > EXPLODED * usual > 0:
            return f"its gradient has a norm of {norm:.3g} where {usual:.3g} is usual"
        if norm > 0:  # a step that was left out has none
            norms.append(norm)
            del norms[:-WINDOW]
        return ""

    def _lower_rate(self, network: str, step: int, why: str) -> None:
        """Halve a rate, or end the run where that did not help."""
        times = self.lowered.get(network, 0)
        if times == PATIENCE:
            raise ModelError(
                f"the {network} is unstable: {why}, after its rate was halved {PATIENCE} times; "
                "lower its rate, adversarial.weight or loop.clip and start anew"
            )
        self.lowered[network] = times + 1
        _report_halving(network, step, why)


def _report_halving(network: str, step: int, why: str) -> None:
    """Report that a rate is halved."""
    log.warning("step %d: the rate of the %s is halved: %s", step, network, why)
