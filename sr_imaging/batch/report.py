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
    """What became of one scan."""

    input: str  # path
    output: str  # path
    status: str = "not started"  # or done, up to date, skipped, failed, interrupted
    cause: str = ""  # why it failed or was skipped, with the remedy
    trace: str = ""  # the traceback of a failure
    warnings: list[str] = field(default_factory=list)  # such as values outside those of the model's training
    facts: dict[str, Any] = field(default_factory=dict)  # shapes, spacings, model, hashes
    seconds: float = 0.0  # from reading to the finished output


@dataclass(frozen=True)
class RunReport:
    """What became of a batch."""

    results: list[ScanResult]  # in the order of the plan
    options: dict[str, Any]  # what was asked for
    started: str  # UTC, ISO 8601
    seconds: float
    interrupted: bool = False  # from outside

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
        """Write the report as JSON, replacing an earlier one; raises WriteError if that fails."""
        with whole_output(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
