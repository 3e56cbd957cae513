"""``sr-imaging upscale``: many scans in, finer ones out, one line for each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import Device, OnMissing, OnTilt, Quiet, Verbose, print_json, running, table
from .numbers import parse_scale, parse_spacing, parse_tile

if TYPE_CHECKING:
    from rich.console import Console

    from sr_imaging.batch.plan import Plan
    from sr_imaging.batch.report import RunReport
    from sr_imaging.batch.task import Task

__all__ = ["upscale"]


def upscale(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN...",
            help="Files, folders with all below them, 'patterns*', @list.txt, DICOM folders, DICOMDIR, zip.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A file for one scan, else a folder that mirrors the inputs."),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="'auto', a name of 'models list', 'cubic', or a model file.")
    ] = "auto",
    scale: Annotated[
        str | None, typer.Option(help="Fine pixels per pixel: 2, or by axis 4,1,1 or z=4.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Target spacing in the scan's unit, instead of --scale: 1, or z=1.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of an output, with {stem}, {scale}, {model}, {SeriesNumber}."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="geotiff, cog, dicom, parametric-map, nifti or zarr instead of the input's."),
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Write DICOM scans without what may identify the patient.")
    ] = False,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bf16.")] = "auto",
    tile: Annotated[str | None, typer.Option(help="Pixels of a tile: 256, or by axis 64,128.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Memory of one pass, such as '2 GiB'.")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise of a stochastic model.")] = 0,
    guide: Annotated[
        Path | None,
        typer.Option(help="Second image that a guided model takes: finer, and covering the whole scan."),
    ] = None,
    on_missing: OnMissing = "raise",
    on_tilt: OnTilt = "raise",
    if_exists: Annotated[
        str | None,
        typer.Option(help="skip, overwrite or error; by default error, and overwrite with --resume."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep outputs of the same input, model and parameters.")
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first failure.")] = False,
    cluster: Annotated[
        str | None,
        typer.Option(help="Workers to spread over: local:2, or a dask scheduler's tcp://host:8786."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be done.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what became of every scan as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same on stdout.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Super-resolve scans; each keeps its place in the world.

    A scan that fails never stops the others. Exit codes: 0 all done or up to date, 1 internal error, 2 usage,
    3 some scans failed, 4 nothing readable, 5 all failed, 6 not enough disk or memory, 130 interrupted.
    """
    with running(quiet=quiet, verbose=verbose) as (out, err):
        from sr_imaging.batch.plan import plan_batch
        from sr_imaging.batch.task import BatchOptions

        options = BatchOptions(
            model=model,
            scale=parse_scale(scale),
            spacing=parse_spacing(spacing),
            device=device,
            precision=precision,
            tile=parse_tile(tile),
            max_memory=max_memory,
            seed=seed,
            guide=guide,
            on_missing=on_missing,
            on_tilt=on_tilt,
            format=format,
            deidentify=deidentify,
            name=name,
            if_exists=if_exists,
            resume=resume,
            fail_fast=fail_fast,
            cluster=cluster,
        )
        plan = plan_batch(inputs, output, options)
        if dry_run:
            code = _show_plan(plan, out, err, as_json=as_json)
        else:
            code = _run_plan(plan, err, report=report, as_json=as_json, quiet=quiet, verbose=verbose)
        raise typer.Exit(code)


def _show_plan(plan: "Plan", out: "Console", err: "Console", *, as_json: bool) -> int:
    """Show a plan, check that it fits, and return the exit code."""
    from sr_imaging.batch.plan import size_text

    if as_json:
        print_json([_task_as_dict(task) for task in plan.tasks])
    else:
        rows = table("scan", "shape", "spacing", "size", "model", "output", "action")
        for task in plan.tasks:
            rows.add_row(*_format_task(task, plan))
        out.print(rows)
    need, free = size_text(plan.disk_bytes), size_text(plan.free_bytes)
    err.print(f"up to {need} to write into {plan.folder}, {free} free")
    plan.check()
    return 0 if any(task.found.scan.verdict.ok for task in plan.tasks) else 4


def _task_as_dict(task: "Task") -> dict[str, Any]:
    """Return one scan of a plan as data."""
    own = {"input": task.found.label, "action": task.action, "cause": task.cause}
    return {**own, "output": str(task.output or ""), "bytes": task.disk_bytes, **task.facts()}


def _format_task(task: "Task", plan: "Plan") -> list[str]:
    """Return the cells of one scan of a plan."""
    from sr_imaging.batch.plan import size_text
    from sr_imaging.batch.task import steps_text

    action = task.action + (f": {task.cause}" if task.cause else "")
    place = task.found.place.as_posix()
    if task.output is None:
        return [place, "", "", "", "", "", action]
    shape = f"{_format_shape(task.shape)} -> {_format_shape(task.fine_shape)}"
    steps = steps_text(task.spacing, task.fine_spacing)
    output = task.output.relative_to(plan.folder).as_posix()
    return [place, shape, steps, size_text(task.fine_nbytes), task.model, output, action]


def _format_shape(shape: tuple[int, ...]) -> str:
    """Return a shape as ``4x512x512``."""
    return "x".join(map(str, shape))


def _run_plan(
    plan: "Plan", err: "Console", *, report: Path | None, as_json: bool, quiet: bool, verbose: int
) -> int:
    """Run a plan under a display, report, and return the exit code."""
    from sr_imaging.batch.run import run_batch

    from .batch_display import display

    with display(err, quiet=quiet, verbose=verbose) as listener:
        ran = run_batch(plan, listener=listener)
    if report is not None:
        ran.write(report)
    if as_json:
        print_json(ran.as_dict())
    if not quiet:
        err.print(_summarise(ran))
    return ran.exit_code


def _summarise(ran: "RunReport") -> str:
    """Return one line on the whole run."""
    kinds = ("done", "up to date", "skipped", "failed", "interrupted", "not started")
    parts = [f"{number} {kind}" for kind in kinds if (number := ran.count(kind))]
    return f"{', '.join(parts) or 'nothing to do'} in {ran.seconds:.1f} s"
