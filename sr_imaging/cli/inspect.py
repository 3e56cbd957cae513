"""``sr-imaging inspect``: which scans a path holds, and whether each is one good image."""

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import NOTHING_READABLE, AsJson, OnMissing, OnTilt, Quiet, Verbose, print_json, running, table

if TYPE_CHECKING:
    from sr_imaging.batch.inputs import Found
    from sr_imaging.io.scan import Check

__all__ = ["inspect"]


def inspect(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files, folders, patterns, @list.txt, DICOMDIR, zip."),
    ],
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check DICOM series by the rules for derived ones; with their sources, compare the place.",
        ),
    ] = False,
    on_missing: OnMissing = "raise",
    on_tilt: OnTilt = "raise",
    patient: Annotated[
        bool, typer.Option("--patient", help="Show the patients, who are left out otherwise.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Show the scans of a path with their grids and verdicts; no patient data unless asked for.

    Exit codes: 0 all readable and, with --check, without problems; 3 some not; 4 none readable.
    """
    with running(quiet=quiet, verbose=verbose) as (out, _):
        from sr_imaging.batch.inputs import find_inputs
        from sr_imaging.io.dicom.patient import patient_of

        found = find_inputs(inputs, on_missing=on_missing, on_tilt=on_tilt)
        checks = _check_found(found) if check else []
        patients = [patient_of(item.scan) for item in found] if patient else []
        scans = zip_longest(found, checks, patients)
        if as_json:
            print_json([_list_facts(*one) for one in scans])
        else:
            names = ("scan", "kind", "shape", "spacing", "type", "place", "verdict")
            rows = table(*["patient"] * patient, *names, *["check"] * check)
            for item, checked, whose in scans:
                first = [", ".join(whose.values())] if patient else []
                rows.add_row(*first, *_format_row(item), *[str(checked or "")] * check)
            out.print(rows)
        good = sum(item.scan.verdict.ok for item in found)
        if not good:
            raise typer.Exit(NOTHING_READABLE)
        unsound = any(checked is not None and checked.problems for checked in checks)
        raise typer.Exit(0 if good == len(found) and not unsound else 3)


def _check_found(found: "list[Found]") -> "list[Check | None]":
    """Return the check of each scan, None for other scans than DICOM."""
    from sr_imaging.io.dicom.checking.series import check_scans  # pydicom takes half a second

    return check_scans([item.scan for item in found])


def _format_row(item: "Found") -> list[str]:
    """Return the cells of one scan."""
    scan = item.scan
    number = scan.facts.get("series_number")
    bits = f"{scan.facts['bits_stored']} bit" if "bits_stored" in scan.facts else ""
    return [
        item.label + (f" (series {number})" if number is not None else ""),
        f"{scan.kind} {scan.modality}" if scan.modality else scan.kind,
        "x".join(map(str, scan.shape)),
        "x".join(f"{step:.4g}" for step in scan.spacing),
        str(scan.facts.get("dtype") or bits),
        _describe_place(scan.facts),
        _describe_verdict(item),
    ]


def _describe_place(facts: dict[str, Any]) -> str:
    """Return the reference system or space; by its name alone where no authority has a code for it."""
    text = str(facts.get("crs") or facts.get("space") or "")
    return f"{text.split(chr(34))[1]} (custom)" if text.count('"') > 1 else text


def _describe_verdict(item: "Found") -> str:
    """Return the verdict without the path that its row begins with."""
    from sr_imaging.batch.inputs import drop_label

    verdict = item.scan.verdict
    reason = drop_label(verdict.reason, item.label)
    return "; ".join(["ok" if verdict.ok else f"refused: {reason}", *verdict.notes])


def _list_facts(item: "Found", checked: "Check | None", patient: dict[str, str] | None) -> dict[str, Any]:
    """Return one scan as data for JSON."""
    own: dict[str, Any] = {} if patient is None else {"patient": patient}
    if checked is not None:
        own["check"] = {"problems": checked.problems, "notes": checked.notes}
    return {**item.scan.as_dict(), "path": item.label, **own}
