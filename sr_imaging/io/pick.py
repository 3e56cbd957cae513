"""The one scan that is meant, among those that were found."""

from typing import Any

from sr_imaging.errors import ReadError

from .scan import Scan

__all__ = ["pick"]

_MOST_LISTED = 20  # scans in a message


def pick(scans: list[Scan], path: Any, series: str | int | None) -> Scan:
    """Return the one good scan, or the good one that `series` names.

    A ReadError says why where there is none or several; `path` is what was asked for.
    """
    if series is not None:
        found = _select_series(scans, str(series))
        if not found:
            raise ReadError(f"{path} has no series {series!r}; it has\n{_list_scans(scans)}")
        scans = found
    good = [scan for scan in scans if scan.verdict.ok]
    if len(good) == 1:
        return good[0]
    if good:
        raise ReadError(
            f"{path} holds {len(good)} scans; pass series= or one scan of find_scans:\n{_list_scans(good)}"
        )
    if len(scans) == 1:
        reason = scans[0].verdict.reason
        raise ReadError(reason if str(scans[0].path) in reason else f"{scans[0].path}: {reason}")
    raise ReadError(f"{path} holds no readable scan; see the reasons:\n{_list_scans(scans)}")


def _select_series(scans: list[Scan], series: str) -> list[Scan]:
    """Return the scans that a name means: exactly, else by number, else by the end of the uid."""
    exact = [scan for scan in scans if series in (scan.series_uid, scan.path.name, str(scan.path))]
    number = [scan for scan in scans if str(scan.facts.get("series_number")) == series]
    return exact or number or [scan for scan in scans if scan.series_uid and scan.series_uid.endswith(series)]


def _list_scans(scans: list[Scan]) -> str:
    """Return one line of text for each scan."""
    lines = []
    for scan in scans[:_MOST_LISTED]:
        size = " x ".join(map(str, scan.shape))
        number = scan.facts.get("series_number")
        name = f"{scan.series_uid or scan.path}{'' if number is None else f' (number {number})'}"
        lines.append(f"  {name} {scan.modality or scan.kind} {size}: {scan.verdict}")
    if len(scans) > _MOST_LISTED:
        lines.append(f"  and {len(scans) - _MOST_LISTED} more")
    return "\n".join(lines)
