"""``sr-imaging train`` and ``sr-imaging evaluate``."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_common import Quiet, Verbose, consoles, exit_codes, start_logging
from .cli_parse import parse_scale
from .errors import CancelledError, ConfigError, WriteError

__all__ = ["evaluate", "train"]


def train(
    config: Annotated[Path, typer.Argument(metavar="RUN.TOML", help="What to train, on what.")],
    *,
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
    """Train a model after a TOML file; Ctrl-C ends it after the step in hand, with a checkpoint.

    Shows a bar on a terminal, and lines on stderr elsewhere. Prints the path of the model file.

    Exit codes: 0 done, 2 a setting is impossible, 130 interrupted.
    """
    out, err = consoles()
    with exit_codes(err, verbose=verbose), start_logging(err, quiet=quiet, verbose=verbose):
        from . import train as run

        shown = not quiet and err.is_terminal
        told = verbose if err.is_terminal else max(verbose, 1)
        lines = start_logging(err, quiet=quiet, verbose=told, name="sr_imaging.runlog")
        with lines, _ended_by_interrupt() as on_step:
            path = run(
                config,
                data_root=data_root,
                resume=resume,
                overwrite=overwrite,
                device=device,
                progress=shown,
                on_step=on_step,
            )
        out.print(str(path), markup=False)


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
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A bundled model, 'cubic', or a model file.")],
    scans: Annotated[list[str], typer.Argument(metavar="SCANS...", help="Scans of full resolution.")],
    *,
    scale: Annotated[str | None, typer.Option(help="Of an interpolation: 2, or by axis 4,1,1.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures here; '-' is stdout.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the scans before and after as PNG.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 and so on.")] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Measure a model beside cubic interpolation: each scan is made coarser, super-resolved and compared."""
    out, err = consoles()
    with exit_codes(err, verbose=verbose), start_logging(err, quiet=quiet, verbose=verbose):
        from . import evaluate as measure

        factors = _factors(scale)
        report = measure(model, list(scans), scale=factors, device=device)
        if json == Path("-"):
            typer.echo(report.to_json())
        else:
            out.print(report.table(), markup=False)
            if json is not None:
                _save(json, report.to_json())
        if figure is not None:
            from .demo import draw_comparison

            drawn = draw_comparison(model, scans, figure, scale=factors, device=device)
            out.print(str(drawn), markup=False)


def _factors(text: str | None) -> int | tuple[int, ...] | None:
    """A scale of whole numbers."""
    scale = parse_scale(text)
    if scale is None:
        return None
    numbers = scale if isinstance(scale, tuple) else (scale,)
    whole = tuple(int(s) for s in numbers if isinstance(s, float) and s.is_integer())
    if len(whole) != len(numbers):
        raise ConfigError(f"--scale {text!r} is not in whole numbers; write 2, or by axis 4,1,1")
    return whole[0] if len(whole) == 1 else whole


def _save(path: Path, text: str) -> None:
    """Write a text file."""
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror}; choose another place") from error
