"""The command line. Each command loads what it needs when it runs, so that ``--help`` answers at once."""

from typing import Annotated

import typer

from sr_imaging import __version__
from sr_imaging.cli import models as cli_models
from sr_imaging.cli.demo.command import demo

from .evaluate import evaluate
from .inspect import inspect
from .train import train
from .upscale import upscale

__all__ = ["app", "main"]

app = typer.Typer(
    name="sr-imaging",
    help="Super-resolution for images that have coordinates: DICOM, GeoTIFF, NIfTI and Zarr.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(upscale)
app.command()(inspect)
app.command()(train)
app.command()(evaluate)
app.command()(demo)
app.add_typer(cli_models.app, name="models")


def _show_version(asked: bool) -> None:
    """Print the version and end, for ``--version``."""
    if asked:
        typer.echo(f"sr-imaging {__version__}")
        raise typer.Exit


@app.callback()
def _take_root_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options of the program itself."""


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":  # torchrun -m sr_imaging.cli
    main()
