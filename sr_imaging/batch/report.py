"""What became of each scan of a run, as data and as a file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sr_imaging import __version__
from sr_imaging.io.atomic import whole_output

__all__ = ["RunReport", "ScanResult"]


@dataclass
class ScanResult:
    """What became of one scan.

    Parameters
    ----------
    input, output : str
        Paths.
    status : str
        ``done``, ``up to date``, ``skipped``, ``failed``, ``interrupted`` or ``not started``.
    cause : str
        Why it failed or was skipped, with the remedy.
    trace : str
        The traceback of a failure.
    warnings : list of str
        What was doubtful: the range of the model, a tile halved for want of memory, … .
    facts : dict
        Shapes, spacings, model, hashes.
    seconds : float
        Time from reading to the finished output.
    """

    input: str
    output: str
    status: str = "not started"
    cause: str = ""
    trace: str = ""
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class RunReport:
    """What became of a batch.

    Parameters
    ----------
    results : list of ScanResult
        In the order of the plan.
    options : dict
        What was asked for.
    started : str
        UTC, ISO 8601.
    seconds : float
        Duration.
    interrupted : bool
        Whether it was stopped from outside.
    """

    results: list[ScanResult]
    options: dict[str, Any]
    started: str
    seconds: float
    interrupted: bool = False

    def count(self, *status: str) -> int:
        """Return the number of scans with one of these statuses."""
        return sum(result.status in status for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 all done or up to date, 3 some failed, 4 nothing readable, 5 all failed, 130 interrupted."""
        if self.interrupted:
            return 130
        if not any(result.facts.get("readable") for result in self.results):
            return 4
        if not self.count("failed"):
            return 0
        return 3 if self.count("done", "up to date", "skipped") else 5

    def as_dict(self) -> dict[str, Any]:
        """Return what a report file holds."""
        return {
            "sr_imaging": __version__,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "exit_code": self.exit_code,
            "interrupted": self.interrupted,
            "options": self.options,
            "scans": [asdict(result) for result in self.results],
        }

    def write(self, path: Path) -> None:
        """Write the report as JSON, replacing an earlier one.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        with whole_output(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
