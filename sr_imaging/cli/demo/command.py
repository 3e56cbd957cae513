"""``sr-imaging demo``: real scans made coarser and fine again, with a picture, a table and files to open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sr_imaging.cli.console import Device, Quiet, Verbose, running, table

if TYPE_CHECKING:
    from .run import Comparison

__all__ = ["demo"]


def demo(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH...]", help="Your scans, instead of those that other packages contain."),
    ] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for results.")] = Path("demo-out"),
    device: Device = "auto",
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Show what the bundled models do: a brain, a satellite scene and a relief, or your own scans.

    Each scan is made coarser and super-resolved, and shown with cubic interpolation and the truth; rasters
    and thick-slice volumes are also refined as they are. Without PATH it needs the extra 'samples'.
    """
    with running(quiet=quiet, verbose=verbose) as (out, err):
        from .run import run_demo

        def say(text: str) -> None:
            if not quiet:
                err.print(text, style="dim")

        made = run_demo(inputs or [], output, device=device, say=say)
        rows = table("scan", "shape", "spacing", "model", "PSNR", "to cubic", "time")
        for one in made.comparisons:
            for row in _format_rows(one):
                rows.add_row(*row)
        out.print(rows)
        if made.note:
            out.print(made.note)
        for path in (made.picture, *(path for one in made.comparisons for path in one.outputs)):
            out.print(str(path))
        for label, reason in made.left_out.items():
            err.print(f"FAIL {label}: {reason}", style="red")
        raise typer.Exit(3 if made.left_out else 0)


def _format_rows(one: "Comparison") -> list[list[str]]:
    """Return a line for each model; what they share is in the first."""
    rows: list[list[str]] = []
    for name, seconds in one.seconds.items():
        db, gain = "", ""
        if name in one.db:
            db = f"{one.db[name]:.2f} dB"
            gain = "" if name == "cubic" else f"{one.db[name] - one.db['cubic']:+.2f} dB"
        shared = [one.name, one.grid, one.steps] if not rows else ["", "", ""]
        rows.append([*shared, name, db, gain, f"{seconds:.1f} s"])
    return rows
