"""What an evaluation found: the figures of each scan, their mean, as JSON and as a text table."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite, nan
from typing import Any

import numpy as np

__all__ = ["Report", "Row"]


@dataclass(frozen=True)
class Row:
    """Figures of one scan and one way to lay it under the model, beside those of cubic interpolation.

    All are taken over the pixels that are valid in the original, the estimate and the interpolation. What
    cannot be measured on a scan is NaN.

    Parameters
    ----------
    scan : str
        Name of the scan.
    axes : str
        Axes that were degraded and refined; for a through-plane model the axis that played z.
    unit : str
        Unit of the spacing, of `resolution`, and inverse of that of `frequency`; ``px`` where the scan states
        none.
    range : float
        Data range for PSNR and SSIM, in the unit of the values: the 0.5 to 99.5 percentiles of the original.
    pixels : int
        Valid pixels.
    mse, mse_cubic : float
        Mean squared error, in the squared unit of the values.
    psnr, psnr_cubic, gain : float
        dB; `gain` is their difference.
    ssim, ssim_cubic, ms_ssim, ms_ssim_cubic : float
        Mean over the 2-D images of the last two axes; `ms_ssim` needs 176 pixels along both.
    sam, sam_cubic : float
        Spectral angle in radians, of several bands.
    ergas, ergas_cubic : float
        Of several bands.
    resolution, resolution_cubic : float
        Period in `unit` at which the Fourier correlation with the original first falls below 1/7.
    consistency, consistency_cubic : float
        PSNR in dB of the degraded estimate against LR.
    accuracy_hr, accuracy_sr, accuracy_cubic : float
        Share of a discriminator's verdicts that are right: on the original, taken for real, and on model and
        cubic, taken for generated.
    frequency : tuple of float
        Middle of each ring of the Fourier correlation along the refined axes, in cycles per `unit`.
    correlation, correlation_cubic : tuple of float
        Fourier correlation of each ring.
    """

    scan: str
    axes: str
    unit: str
    range: float
    pixels: int
    mse: float
    mse_cubic: float
    psnr: float
    psnr_cubic: float
    gain: float
    ssim: float
    ssim_cubic: float
    ms_ssim: float
    ms_ssim_cubic: float
    sam: float
    sam_cubic: float
    ergas: float
    ergas_cubic: float
    consistency: float
    consistency_cubic: float
    resolution: float = nan
    resolution_cubic: float = nan
    accuracy_hr: float = nan
    accuracy_sr: float = nan
    accuracy_cubic: float = nan
    frequency: tuple[float, ...] = ()
    correlation: tuple[float, ...] = ()
    correlation_cubic: tuple[float, ...] = ()


_WITH_UNIT = ("range", "mse", "mse_cubic")  # of values, which scans need not share
_MEANS = tuple(f.name for f in fields(Row) if f.type is float and f.name not in _WITH_UNIT)
_DECIMALS = {"psnr": 2, "gain": 2, "consistency": 2, "ergas": 3}
_COLUMNS = {  # of the table by scan: figure and its head
    "range": "range",
    "mse": "MSE",
    "mse_cubic": "cubic",
    "psnr": "PSNR",
    "psnr_cubic": "cubic",
    "gain": "gain",
    "ssim": "SSIM",
    "ssim_cubic": "cubic",
}
_SUMMARY = {  # of the table of means: figure of the model and its words
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "sam": "spectral angle, rad",
    "ergas": "ERGAS",
    "resolution": "Fourier correlation 1/7 at",
    "consistency": "LR consistency, dB",
    "accuracy_sr": "told from HR by the discriminator",
}
_BESIDE = {"accuracy_sr": "accuracy_cubic"}  # figures of cubic whose name does not follow


@dataclass(frozen=True)
class Report:
    """What :func:`sr_imaging.evaluate` found.

    Parameters
    ----------
    model : str
        Name of the model.
    scale : tuple of float
        Its scale.
    degradation : str
        How LR was made.
    rows : tuple of Row
        One per scan and way to lay it under the model.
    """

    model: str
    scale: tuple[float, ...]
    degradation: str
    rows: tuple[Row, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Mean of each figure over the rows that have it.

        The squared error has none, since scans need not share a unit; the resolution where they do.
        """
        means = {}
        for name in _MEANS:
            values = [value for row in self.rows if isfinite(value := getattr(row, name))]
            alike = not name.startswith("resolution") or len({row.unit for row in self.rows}) == 1
            means[name] = float(np.mean(values)) if values and alike else nan
        return means

    def to_json(self) -> str:
        """Return the report as JSON; figures that do not exist are null."""
        whole = {**asdict(self), "mean": self.mean}
        return json.dumps(_without_nan(whole), indent=2)

    def table(self) -> str:
        """Return the report as text: a table by scan, and one of the means."""
        mean = self.mean
        by_scan = [["scan", "axes", *_COLUMNS.values()]]
        by_scan += [
            [row.scan, row.axes, *(_text(name, getattr(row, name)) for name in _COLUMNS)] for row in self.rows
        ]
        by_scan.append(["mean", "", *(_text(name, mean.get(name, nan)) for name in _COLUMNS)])
        head = f"{self.model}, scale {self.scale}, {self.degradation}"
        parts = [head, *_aligned(by_scan), "", *_aligned(self._summary(mean))]
        return "\n".join(parts)

    def _summary(self, mean: dict[str, float]) -> list[list[str]]:
        """Lines of the table of means: the figures that exist."""
        lines = [["mean", self.model, "cubic"]]
        for name, words in _SUMMARY.items():
            if not isfinite(mean[name]):
                continue
            unit = f" {self.rows[0].unit}" if name == "resolution" else ""
            pair = (mean[name], mean[_BESIDE.get(name, f"{name}_cubic")])
            lines.append([words, *(_text(name, value) + unit for value in pair)])
        if isfinite(mean["accuracy_hr"]):
            lines.append(["HR known as such by the discriminator", _text("", mean["accuracy_hr"]), ""])
        return lines


def _text(name: str, value: float) -> str:
    """Write a figure with the digits that its name calls for; nothing where it does not exist."""
    if np.isnan(value):
        return ""
    if name.startswith(("range", "mse", "resolution")):
        return f"{value:.4g}"
    return f"{value:.{_DECIMALS.get(name.removesuffix('_cubic'), 4)}f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinity by null, which JSON has."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
