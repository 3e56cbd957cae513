"""``sr-imaging inspect``: which scans a path holds, and whether each is one good image."""

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import (
    NOTHING_READABLE,
    AsJson,
    OnMissing,
    OnTilt,
    Quiet,
    Verbose,
    consoles,
    exit_codes,
    print_json,
    start_logging,
    table,
)

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
    out, err = consoles()
    with exit_codes(err, verbose=verbose), start_logging(err, quiet=quiet, verbose=verbose):
        from sr_imaging.batch.inputs import find_inputs
        from sr_imaging.io.dicom.checking.series import check_scans

        found = find_inputs(inputs, on_missing=on_missing, on_tilt=on_tilt)
        checks = check_scans([item.scan for item in found]) if check else []
        if as_json:
            print_json([_collect_facts(*pair, patient=patient) for pair in zip_longest(found, checks)])
        else:
            names = ("scan", "kind", "shape", "spacing", "type", "place", "verdict")
            rows = table(*["patient"] * patient, *names, *["check"] * check)
            for item, checked in zip_longest(found, checks):
                whose = [", ".join(_find_patient(item).values())] * patient
                rows.add_row(*whose, *_format_row(item), *[str(checked or "")] * check)
            out.print(rows)
        good = sum(item.scan.verdict.ok for item in found)
        if not good:
            raise typer.Exit(NOTHING_READABLE)
        unsound = any(checked is not None and checked.problems for checked in checks)
        raise typer.Exit(0 if good == len(found) and not unsound else 3)


def _format_row(item: "Found") -> list[str]:
    """Return the cells of one scan."""
    scan = item.scan
    number = scan.facts.get("series_number")
    return [
        item.label + (f" (series {number})" if number is not None else ""),
        f"{scan.kind} {scan.modality}" if scan.modality else scan.kind,
        "x".join(map(str, scan.shape)),
        "x".join(f"{step:.4g}" for step in scan.spacing),
        str(scan.facts.get("dtype") or _describe_bits(scan.facts)),
        _describe_place(scan.facts),
        _describe_verdict(item),
    ]


def _describe_place(facts: dict[str, Any]) -> str:
    """Return the reference system or space; by its name alone where no authority has a code for it."""
    text = str(facts.get("crs") or facts.get("space") or "")
    return f"{text.split(chr(34))[1]} (custom)" if text.count('"') > 1 else text


def _describe_verdict(item: "Found") -> str:
    """Return the verdict without the path that its row begins with."""
    from sr_imaging.batch.inputs import shown_cause

    verdict = item.scan.verdict
    reason = shown_cause(verdict.reason, item.label)
    return "; ".join(["ok" if verdict.ok else f"refused: {reason}", *verdict.notes])


def _describe_bits(facts: dict[str, Any]) -> str:
    """Return the stored bits of DICOM pixels."""
    return f"{facts['bits_stored']} bit" if "bits_stored" in facts else ""


def _collect_facts(item: "Found", checked: "Check | None", *, patient: bool) -> dict[str, Any]:
    """Return one scan as data for JSON."""
    own = {} if checked is None else {"check": {"problems": checked.problems, "notes": checked.notes}}
    whose = {"patient": _find_patient(item)} if patient else {}
    return {**item.scan.as_dict(), "path": item.label, **whose, **own}


def _find_patient(item: "Found") -> dict[str, str]:
    """Return who the patient of a scan is."""
    from sr_imaging.io.dicom.patient import patient_of

    return patient_of(item.scan)
