"""The one scan that is meant, among those that were found."""

from typing import Any

from sr_imaging.errors import ReadError

from .scan import Scan

_LISTED = 20  # scans in a message


def pick(scans: list[Scan], path: Any, series: str | int | None) -> Scan:
    """Return the one good scan, or the one that `series` names.

    Parameters
    ----------
    scans : list of Scan
        As :func:`find_scans` returns them.
    path : path
        What was asked for, for the message.
    series : str or int, optional
        SeriesInstanceUID or its end, series number, or the name of a file.

    Returns
    -------
    Scan
        With a good verdict.

    Raises
    ------
    ReadError
        If there is no such scan, none is good, or several are.
    """
    if series is not None:
        scans = _named(scans, str(series)) or _none_named(scans, path, series)
    good = [scan for scan in scans if scan.verdict.ok]
    if len(good) == 1:
        return good[0]
    if good:
        raise ReadError(
            f"{path} holds {len(good)} scans; pass series= or one scan of find_scans:\n{_listed(good)}"
        )
    if len(scans) == 1:
        reason = scans[0].verdict.reason
        raise ReadError(reason if str(scans[0].path) in reason else f"{scans[0].path}: {reason}")
    raise ReadError(f"{path} holds no readable scan; see the reasons:\n{_listed(scans)}")


def _named(scans: list[Scan], series: str) -> list[Scan]:
    """The scans that a name means: exactly, else by number, else by the end of the uid."""
    exact = [scan for scan in scans if series in (scan.series_uid, scan.path.name, str(scan.path))]
    number = [scan for scan in scans if str(scan.facts.get("series_number")) == series]
    return exact or number or [scan for scan in scans if scan.series_uid and scan.series_uid.endswith(series)]


def _none_named(scans: list[Scan], path: Any, series: Any) -> list[Scan]:
    """Say which series there are."""
    raise ReadError(f"{path} has no series {series!r}; it has\n{_listed(scans)}")


def _listed(scans: list[Scan]) -> str:
    """One line a scan."""
    lines = []
    for scan in scans[:_LISTED]:
        size = " x ".join(map(str, scan.shape))
        number = scan.facts.get("series_number")
        name = f"{scan.series_uid or scan.path}" + (f" (number {number})" if number is not None else "")
        lines.append(f"  {name} {scan.modality or scan.kind} {size}: {scan.verdict}")
    more = len(scans) - _LISTED
    return "\n".join([*lines, *([f"  and {more} more"] if more > 0 else [])])
