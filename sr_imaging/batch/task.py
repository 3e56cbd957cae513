"""What a batch is asked for, and what it decides for one scan."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sr_imaging.errors import ConfigError
from sr_imaging.inference.options import UpscaleOptions

from .inputs import Found
from .journal import fingerprint, parameters_sha256
from .output_names import FORMATS

__all__ = ["BatchOptions", "Task", "steps_text"]

IF_EXISTS = ("error", "skip", "overwrite")
_EAGER = ("dicom", "nifti")  # kinds that are read into memory


@dataclass(frozen=True)
class BatchOptions(UpscaleOptions):
    """The options of `upscale`, and what becomes of files; raises ConfigError for an unknown choice."""

    guide: Path | None = None  # a file or DICOM folder, which lies on the grid of one result
    on_missing: str = "raise"  # as in sr_imaging.read, like on_tilt
    on_tilt: str = "raise"
    format: str | None = None  # one of FORMATS; that of each input by default
    deidentify: bool = False  # as in sr_imaging.write, for DICOM; the names of the outputs become hashes
    name: str | None = None  # template of the outputs' names: {stem}, {scale}, {model}, {SeriesNumber}
    if_exists: str | None = None  # one of IF_EXISTS; by default error, with `resume` overwrite
    resume: bool = False  # keep finished outputs that were made from the same input, model and parameters
    fail_fast: bool = False  # stop at the first scan that fails
    cluster: str | None = None  # local:2, or the address of a dask scheduler

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"unknown format {self.format!r}; choose one of {', '.join(FORMATS)}")
        if self.if_exists is not None and self.if_exists not in IF_EXISTS:
            raise ConfigError(f"unknown choice {self.if_exists!r}; choose one of {', '.join(IF_EXISTS)}")

    @property
    def existing(self) -> str:
        """Return what becomes of outputs that exist, one of IF_EXISTS."""
        return self.if_exists or ("overwrite" if self.resume else "error")

    def as_dict(self) -> dict[str, Any]:
        """Return what a report says of the options, as JSON has it; a batch has no `dtype` and `strict`."""
        told = {key: value for key, value in asdict(self).items() if key not in ("dtype", "strict")}
        return {**told, "guide": None if self.guide is None else str(self.guide)}


@dataclass(frozen=True)
class Task:
    """One scan of a plan."""

    found: Found
    action: str = "run"  # or ``up to date``, ``skip``, ``exists``, ``fail``
    cause: str = ""  # why it is skipped or cannot be done
    output: Path | None = None
    format: str = ""  # of the output
    model: str = ""
    model_sha256: str = ""
    dims: tuple[str, ...] = ()  # of the shapes
    shape: tuple[int, ...] = ()
    fine_shape: tuple[int, ...] = ()
    spacing: dict[str, float] = field(default_factory=dict)  # by dim, in the scan's unit; may be empty
    fine_spacing: dict[str, float] = field(default_factory=dict)
    nbytes: int = 0  # of the pixels, uncompressed
    fine_nbytes: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)  # that, with input and model, make the result
    generator: Any = field(default=None, repr=False)  # the model itself

    @property
    def disk_bytes(self) -> int:
        """Return the most bytes that the output takes; the overviews of a COG are a third of it."""
        return self.fine_nbytes * 4 // 3 if self.format == "cog" else self.fine_nbytes

    @property
    def memory_bytes(self) -> int:
        """Return the bytes of the arrays where the scan is read at once, 0 where it streams."""
        return self.nbytes + 2 * self.fine_nbytes if self.found.scan.kind in _EAGER else 0

    def hashes(self) -> dict[str, str]:
        """Return what a finished output must have been made from; reads the whole input."""
        return {
            "input": fingerprint(self.found.scan),
            "model": self.model_sha256,
            "parameters": parameters_sha256(self.parameters),
        }

    def facts(self) -> dict[str, Any]:
        """Return what a report says of the plan."""
        names = ("format", "model", "model_sha256", "dims", "shape", "fine_shape", "spacing", "fine_spacing")
        scan = self.found.scan
        own: dict[str, Any] = {"kind": scan.kind, "series_uid": scan.series_uid, "modality": scan.modality}
        own["readable"] = scan.verdict.ok
        return {**own, **{name: getattr(self, name) for name in names}, "parameters": self.parameters}


def steps_text(before: Mapping[Any, float], after: Mapping[Any, float], unit: str = "") -> str:
    """Return spacings before and after, dims that agree together; dims that stay are left out.

    >>> steps_text({"z": 4, "y": 2, "x": 2}, {"z": 4, "y": 1, "x": 1}, " mm")
    'y, x 2 -> 1 mm'
    """
    dims: dict[str, list[str]] = {}
    for dim, step in before.items():
        if abs(after[dim] - step) > 1e-9 * step:
            dims.setdefault(f"{step:.4g} -> {after[dim]:.4g}{unit}", []).append(str(dim))
    return "; ".join(f"{', '.join(names)} {text}" for text, names in dims.items())
