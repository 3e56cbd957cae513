"""``sr-imaging train``: train a model from a TOML file, or for one scan."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sr_imaging.errors import CancelledError, ConfigError

from .console import Device, Quiet, Verbose, running, start_logging

__all__ = ["train"]


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="RUN.TOML", help="What to train, and on what.")
    ] = None,
    *,
    scan: Annotated[
        Path | None,
        typer.Option(
            "--self",
            metavar="SCAN",
            help="Train a model for this one scan on the scan alone: thick slices, or a raster.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --self: folder of the model and its log.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="With --self: length of the run.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder that the paths of the scans are relative to.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint of the run.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Start again, replacing the files of an earlier run of this name."),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Train a model from a TOML file, or for one scan; Ctrl-C ends it with a checkpoint.

    Shows a bar on a terminal, and lines on stderr elsewhere. Prints the path of the model file.

    Exit codes: 0 done, 2 a setting is impossible, 130 interrupted.
    """
    with running(quiet=quiet, verbose=verbose) as (out, err):
        from sr_imaging import train as run

        settings = _choose_settings(config, scan, output, steps)
        shown = not quiet and err.is_terminal
        level = verbose if err.is_terminal else max(verbose, 1)
        lines = start_logging(err, quiet=quiet, verbose=level, name="sr_imaging.training.monitoring.log")
        with lines, _end_on_interrupt() as on_step:
            path = run(
                settings,
                data_root=data_root,
                resume=resume,
                overwrite=overwrite,
                device=device,
                progress=shown,
                on_step=on_step,
            )
        out.print(str(path))


def _choose_settings(config: Path | None, scan: Path | None, output: Path | None, steps: int | None) -> Any:
    """Return the TOML file that was named, or the settings that train on one scan."""
    if (config is None) == (scan is None):
        raise ConfigError("give RUN.TOML or --self SCAN, one of the two")
    if scan is None:
        if output is not None or steps is not None:
            raise ConfigError("--output and --steps go with --self; those of a run are in its RUN.TOML")
        return config
    from sr_imaging import self_config

    given: dict[str, Any] = {"output": output, "steps": steps}
    return self_config(scan, **{key: value for key, value in given.items() if value is not None})


@contextmanager
def _end_on_interrupt() -> Iterator[Callable[[Mapping[str, Any]], None]]:
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
