"""``sr-imaging train`` and ``sr-imaging evaluate``."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from sr_imaging.errors import CancelledError, ConfigError

from .console import Quiet, Verbose, consoles, exit_codes, start_logging

__all__ = ["train"]


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
