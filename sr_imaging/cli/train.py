"""``sr-imaging train`` and ``sr-imaging evaluate``."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sr_imaging.errors import CancelledError, ConfigError, WriteError

from .console import Quiet, Verbose, consoles, exit_codes, start_logging
from .numbers import parse_scale

__all__ = ["evaluate", "train"]


def train(
    config: Annotated[Path | None, typer.Argument(metavar="RUN.TOML", help="What to train, on what.")] = None,
    *,
    scan: Annotated[
        Path | None,
        typer.Option(
            "--self",
            metavar="SCAN",
            help="Train a model for this one scan on nothing but itself: thick slices, or a raster.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --self: folder of the model and its log.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="With --self: length of the run.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that the paths of the scans start from.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint of the run.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew over the files of an earlier run of this name.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 and so on.")] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Train a model after a TOML file, or for one scan; Ctrl-C ends it with a checkpoint.

    Shows a bar on a terminal, and lines on stderr elsewhere. Prints the path of the model file.

    Exit codes: 0 done, 2 a setting is impossible, 130 interrupted.
    """
    out, err = consoles()
    with exit_codes(err, verbose=verbose), start_logging(err, quiet=quiet, verbose=verbose):
        from sr_imaging import train as run

        settings = _settings(config, scan, output, steps)
        shown = not quiet and err.is_terminal
        told = verbose if err.is_terminal else max(verbose, 1)
        lines = start_logging(err, quiet=quiet, verbose=told, name="sr_imaging.training.monitoring.log")
        with lines, _ended_by_interrupt() as on_step:
            path = run(
                settings,
                data_root=data_root,
                resume=resume,
                overwrite=overwrite,
                device=device,
                progress=shown,
                on_step=on_step,
            )
        out.print(str(path), markup=False)


def _settings(config: Path | None, scan: Path | None, output: Path | None, steps: int | None) -> Any:
    """Return the TOML file that was named, or the settings that train on one scan."""
    if (config is None) == (scan is None):
        raise ConfigError("give RUN.TOML or --self SCAN, one of them")
    if scan is None:
        if output is not None or steps is not None:
            raise ConfigError("--output and --steps go with --self; a run's own are in its RUN.TOML")
        return config
    from sr_imaging import self_config

    given: dict[str, Any] = {"output": output, "steps": steps}
    return self_config(scan, **{key: value for key, value in given.items() if value is not None})


@contextmanager
def _ended_by_interrupt() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a callback that ends the training once a signal came; a second signal ends it at once."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def on_step(row: Mapping[str, Any]) -> None:
        if asked:
            raise CancelledError(f"a checkpoint of step {row['step']} is kept; go on with --resume")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield on_step
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A bundled model, a classical method, or a model file.")
    ],
    scans: Annotated[list[str], typer.Argument(metavar="SCANS...", help="Scans of full resolution.")],
    *,
    scale: Annotated[
        str | None, typer.Option(help="Where the model has none of its own: 2, or by axis 4,1,1.")
    ] = None,
    psf: Annotated[
        str | None, typer.Option(help="gaussian, box, slice-gaussian or slr, instead of the usual ones.")
    ] = None,
    sigma: Annotated[float | None, typer.Option(help="Of the Gaussian, in LR pixels.")] = None,
    fwhm: Annotated[float | None, typer.Option(help="Of the Gaussian, in LR pixels.")] = None,
    mtf: Annotated[float | None, typer.Option(help="Of the LR pixels at their Nyquist frequency.")] = None,
    thickness: Annotated[
        float | None, typer.Option(help="Of a slice, as a fraction of the distance between slices.")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="gaussian, rician or poisson-gaussian; none by default.")
    ] = None,
    noise_sigma: Annotated[
        float | None, typer.Option(help="As a fraction of the scan's standard deviation.")
    ] = None,
    noise_gain: Annotated[
        float | None, typer.Option(help="Variance per signal, as a fraction of that deviation.")
    ] = None,
    noise_zero: Annotated[
        float | None, typer.Option(help="Value of no signal; -1024 for Hounsfield units.")
    ] = None,
    guide: Annotated[
        list[str] | None, typer.Option(help="Second image of a guided model, one for each scan in order.")
    ] = None,
    discriminator: Annotated[
        Path | None, typer.Option(help="A saved discriminator: how often it is right.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures here; '-' is stdout.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw crops, error maps and Fourier correlation as PNG.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 and so on.")] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Measure a model beside cubic interpolation: each scan is made coarser, super-resolved and compared.

    The options from --psf to --noise-zero are those of [degradation] in a training file.
    """
    out, err = consoles()
    with exit_codes(err, verbose=verbose), start_logging(err, quiet=quiet, verbose=verbose):
        from sr_imaging import evaluate as measure
        from sr_imaging.training.config.data import DegradationConfig

        asked: dict[str, Any] = {
            "psf": psf,
            "sigma": sigma,
            "fwhm": fwhm,
            "mtf": mtf,
            "thickness": thickness,
            "noise": noise,
            "noise_sigma": noise_sigma,
            "noise_gain": noise_gain,
            "noise_zero": noise_zero,
        }
        given = {key: value for key, value in asked.items() if value is not None}
        report = measure(
            model,
            list(scans),
            scale=_one_or_several(scale),
            degradation=DegradationConfig(**given) if given else None,
            guides=guide or None,
            discriminator=discriminator,
            figure=figure,
            device=device,
        )
        if json == Path("-"):
            typer.echo(report.to_json())
        else:
            out.print(report.table(), markup=False)
            if json is not None:
                _save(json, report.to_json())
        if figure is not None:
            err.print(str(figure), markup=False)


def _one_or_several(text: str | None) -> float | tuple[float, ...] | None:
    """A scale: one number, or one for each axis."""
    scale = parse_scale(text)
    if isinstance(scale, dict):
        raise ConfigError(f"--scale {text!r} names dims; write 2, or by axis 4,1,1")
    return scale


def _save(path: Path, text: str) -> None:
    """Write a text file."""
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}; choose another place") from error
