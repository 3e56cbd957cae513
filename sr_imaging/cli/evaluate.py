"""``sr-imaging evaluate``: measure a model on scans, and cubic interpolation."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sr_imaging.errors import ConfigError, WriteError

from .console import Device, Quiet, Verbose, running
from .numbers import parse_scale

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundled model, a classical method, or a model file.")
    ],
    scans: Annotated[list[str], typer.Argument(metavar="SCANS...", help="Scans of full resolution.")],
    *,
    scale: Annotated[
        str | None, typer.Option(help="For a model without a scale of its own: 2, or by axis 4,1,1.")
    ] = None,
    psf: Annotated[
        str | None, typer.Option(help="gaussian, box, slice-gaussian or slr, instead of the default.")
    ] = None,
    sigma: Annotated[float | None, typer.Option(help="Of the Gaussian, in LR pixels.")] = None,
    fwhm: Annotated[float | None, typer.Option(help="Of the Gaussian, in LR pixels.")] = None,
    mtf: Annotated[float | None, typer.Option(help="Of the LR pixels, at their Nyquist frequency.")] = None,
    thickness: Annotated[
        float | None, typer.Option(help="Slice thickness, as a fraction of the distance between slices.")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="gaussian, rician or poisson-gaussian; none by default.")
    ] = None,
    noise_sigma: Annotated[
        float | None, typer.Option(help="Noise, as a fraction of the scan's standard deviation.")
    ] = None,
    noise_gain: Annotated[
        float | None, typer.Option(help="Noise variance per signal, as a fraction of that deviation.")
    ] = None,
    noise_zero: Annotated[
        float | None, typer.Option(help="Value where there is no signal; -1024 for Hounsfield units.")
    ] = None,
    guide: Annotated[
        list[str] | None, typer.Option(help="Second image of a guided model, one for each scan in order.")
    ] = None,
    discriminator: Annotated[
        Path | None, typer.Option(help="A saved discriminator, to measure how often it is right.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures here; '-' is stdout.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw crops, error maps and Fourier correlation as PNG.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Measure a model and cubic interpolation: each scan is made coarser, super-resolved and compared.

    The options from --psf to --noise-zero are those of [degradation] in a training file.
    """
    with running(quiet=quiet, verbose=verbose) as (out, err):
        from sr_imaging import evaluate as measure
        from sr_imaging.degradation.settings import DegradationConfig

        asked: dict[str, Any] = {"psf": psf, "sigma": sigma, "fwhm": fwhm, "mtf": mtf, "thickness": thickness}
        asked |= {
            "noise": noise,
            "noise_sigma": noise_sigma,
            "noise_gain": noise_gain,
            "noise_zero": noise_zero,
        }
        given = {key: value for key, value in asked.items() if value is not None}
        report = measure(
            model,
            list(scans),
            scale=_parse_scale_of_axes(scale),
            degradation=DegradationConfig(**given) if given else None,
            guides=guide or None,
            discriminator=discriminator,
            figure=figure,
            device=device,
        )
        if json == Path("-"):
            typer.echo(report.to_json())
        else:
            out.print(report.table())
            if json is not None:
                _write_text(json, report.to_json())
        if figure is not None:
            err.print(str(figure))


def _parse_scale_of_axes(text: str | None) -> float | tuple[float, ...] | None:
    """Return a scale as one number, or as one for each axis."""
    scale = parse_scale(text)
    if isinstance(scale, dict):
        raise ConfigError(f"--scale {text!r} names dims; write 2, or by axis 4,1,1")
    return scale


def _write_text(path: Path, text: str) -> None:
    """Write a text file."""
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}; choose another path") from error
