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
    """Figures of one scan and one choice of axes, and those of cubic interpolation.

    All are taken over the pixels that are valid in the original, the estimate and the interpolation. What
    cannot be measured on a scan is NaN.
    """

    scan: str
    axes: str  # that were made coarse and refined; for a through-plane model the axis that played z
    unit: str  # of the spacing and the resolution, its inverse of the frequency; ``px`` where none is stated
    range: float  # for PSNR and SSIM, unit of the values: the 0.5 to 99.5 percentiles of the original
    pixels: int  # valid ones
    mse: float  # mean squared error, squared unit of the values
    mse_cubic: float
    psnr: float  # dB
    psnr_cubic: float
    gain: float  # dB, `psnr` less `psnr_cubic`
    ssim: float  # mean over the 2-D images of the last two axes
    ssim_cubic: float
    ms_ssim: float  # the same; needs 176 pixels along both
    ms_ssim_cubic: float
    sam: float  # spectral angle in radians, of several bands
    sam_cubic: float
    ergas: float  # of several bands
    ergas_cubic: float
    consistency: float  # PSNR in dB of the estimate made coarse again against LR
    consistency_cubic: float
    resolution: float = nan  # period in `unit` at which the Fourier correlation first falls below 1/7
    resolution_cubic: float = nan
    accuracy_hr: float = nan  # share of a discriminator's verdicts that are right: the original is real
    accuracy_sr: float = nan  # the same: the estimate is generated
    accuracy_cubic: float = nan  # the same: the interpolation is generated
    frequency: tuple[float, ...] = ()  # middle of each ring, cycles per `unit`
    correlation: tuple[float, ...] = ()  # Fourier correlation of each ring
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
        One per scan and choice of axes.
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
        return json.dumps(_replace_nan(whole), indent=2)

    def table(self) -> str:
        """Return the report as text: a table by scan, and one of the means."""
        mean = self.mean
        by_scan = [["scan", "axes", *_COLUMNS.values()]]
        for row in self.rows:
            figures = [_format_figure(name, getattr(row, name)) for name in _COLUMNS]
            by_scan.append([row.scan, row.axes, *figures])
        by_scan.append(["mean", "", *(_format_figure(name, mean.get(name, nan)) for name in _COLUMNS)])
        head = f"{self.model}, scale {self.scale}, {self.degradation}"
        parts = [head, *_align_columns(by_scan), "", *_align_columns(self._summarise(mean))]
        return "\n".join(parts)

    def _summarise(self, mean: dict[str, float]) -> list[list[str]]:
        """Return the lines of the table of means, of the figures that exist."""
        lines = [["mean", self.model, "cubic"]]
        for name, words in _SUMMARY.items():
            if not isfinite(mean[name]):
                continue
            unit = f" {self.rows[0].unit}" if name == "resolution" else ""
            pair = (mean[name], mean[_BESIDE.get(name, f"{name}_cubic")])
            lines.append([words, *(_format_figure(name, value) + unit for value in pair)])
        if isfinite(mean["accuracy_hr"]):
            share = _format_figure("accuracy_hr", mean["accuracy_hr"])
            lines.append(["HR known as such by the discriminator", share, ""])
        return lines


def _format_figure(name: str, value: float) -> str:
    """Return a figure with the digits that its name calls for, empty where it does not exist."""
    if np.isnan(value):
        return ""
    if name.startswith(("range", "mse", "resolution")):
        return f"{value:.4g}"
    return f"{value:.{_DECIMALS.get(name.removesuffix('_cubic'), 4)}f}"


def _align_columns(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines with their cells in columns."""
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _replace_nan(value: Any) -> Any:
    """Replace NaN and infinity by null, which JSON has."""
    if isinstance(value, dict):
        return {key: _replace_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nan(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
