"""Which scans a training run is about: found by pattern, and matched where several show one place."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_imaging.errors import ConfigError, ReadError
from sr_imaging.io import find_scans
from sr_imaging.training.config.data import DataConfig

__all__ = ["TrainingScan", "find_training_scans", "training_scans"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingScan:
    """A scan of full resolution, and what else shows the same place."""

    hr: Any  # a Scan, as the others
    lr: Any = None  # coarse; where there is none, LR is simulated
    guide: Any = None  # second image of a guided generator

    @property
    def path(self) -> Path:
        """Return the path of the full-resolution scan."""
        path: Path = self.hr.path
        return path

    @property
    def identity(self) -> tuple[str, str]:
        """Return what identifies the full-resolution scan, by whatever path it was named."""
        return identity_of(self.hr)


def identity_of(scan: Any) -> tuple[str, str]:
    """Return path without links, and series, of a scan."""
    return str(Path(scan.path).resolve()), scan.series_uid or ""


def training_scans(data: DataConfig, root: Path, *, held_out: bool = False) -> list[TrainingScan]:
    """Return the scans of ``data.train`` or, if `held_out`, ``data.validation``, with their partners.

    Raises `ConfigError` if a pattern finds nothing, or the lists of partners differ in length.
    """
    part = "validation" if held_out else "train"
    names = ("validation_lr", "validation_guide") if held_out else ("lr", "guide")
    hr = find_training_scans(getattr(data, part), root)
    partners = []
    for name in names:
        found = find_training_scans(getattr(data, name), root)
        partners.append(
            _match_partners(hr, found, f"data.{part}", f"data.{name}") if found else [None] * len(hr)
        )
    return [TrainingScan(*row) for row in zip(hr, *partners, strict=True)]


def find_training_scans(patterns: Sequence[str], root: Path) -> list[Any]:
    """Return the readable scans that some patterns name, in a fixed order, each once.

    Patterns are files, folders or glob patterns relative to `root`, or absolute files. PNG and JPEG images
    count where they are named themselves, and in folders that hold no other scan. Raises `ConfigError` if a
    pattern finds nothing, or nothing readable.
    """
    found: dict[Any, Any] = {}
    for pattern in patterns:
        matches = [Path(pattern)] if Path(pattern).is_absolute() else sorted(root.glob(pattern))
        scans, reason = [], f"no scan under {root}"
        for match in matches:
            try:
                scans += find_scans(match, images=True) if match.exists() else []
            except ReadError as error:
                reason = str(error)
        good = [scan for scan in scans if scan.verdict.ok]
        if not good:
            reason = f"{scans[0].path}: {scans[0].verdict}" if scans else reason
            raise ConfigError(f"{pattern!r} finds nothing to train on ({reason}); correct it or data.root")
        for scan in good:
            found.setdefault(identity_of(scan), scan)
    return list(found.values())


def _match_partners(hr: list[Any], others: list[Any], key: str, other_key: str) -> list[Any]:
    """Return scans in the order of their partners: by name if all names agree, else as they come."""
    if len(hr) != len(others):
        raise ConfigError(
            f"{other_key} finds {len(others)} scans and {key} finds {len(hr)}; give one for each"
        )
    names = [scan.path.name.split(".")[0] for scan in hr]
    by_name = {scan.path.name.split(".")[0]: scan for scan in others}
    if len(by_name) == len(others) and set(by_name) == set(names):
        return [by_name[name] for name in names]
    log.info("%s and %s have different file names; they are matched in their order", key, other_key)
    return others
