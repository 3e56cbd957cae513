"""Where the outputs of a batch go: one file, or a folder that mirrors the inputs; never onto an input."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePath
from string import Formatter

from sr_imaging.errors import ConfigError
from sr_imaging.io import formats
from sr_imaging.io.scan import Scan

from .inputs import Found

__all__ = ["anonymise", "check_names", "choose_format", "drop_outputs", "is_output_file", "name_outputs"]

# format -> suffixes of its files, the first is the one that is written; a DICOM series is a folder
FORMATS = {
    form.name: form.suffixes and form.suffixes + form.other_suffixes
    for form in formats.FORMATS.values()
    if form.write
}
FIELDS = ("stem", "scale", "model", "SeriesNumber")
_OUTPUT_SUFFIXES = tuple(chain.from_iterable(FORMATS.values()))
_IMAGE_SUFFIXES = {".gz", ".jp2", ".nc", ".zip", ".ima", ".dicom", ".vrt", *_OUTPUT_SUFFIXES}
_FOREIGN = {".png", ".jpg", ".jpeg", ".jp2", ".nc", ".h5", ".hdf", ".img", ".hdr", ".mha", ".mhd", ".nrrd"}


def choose_format(output: Path, kind: str) -> str:
    """Return the format of one output file's suffix, else the one that suits a kind of scan."""
    name = output.name.lower() if is_output_file(output) else ""
    of_kind = formats.FORMATS[kind].result or kind
    by_suffix = (form.name for form in formats.FORMATS.values() if form.by_suffix)
    return next((form for form in by_suffix if name.endswith(FORMATS[form])), of_kind)


def is_output_file(output: Path) -> bool:
    """Return whether an output path names one file (or Zarr store), not a folder for many.

    Raises ConfigError if its suffix is that of an image format which is not written here.
    """
    if os.path.isdir(output) and output.suffix != ".zarr":
        return False
    name = output.name.lower()
    if name.endswith(_OUTPUT_SUFFIXES):
        return True
    if output.suffix.lower() in _FOREIGN:
        raise ConfigError(
            f"cannot write {output.suffix} files ({output}); use .tif, .nii, .nii.gz or .zarr, "
            "or a folder, which a DICOM series is written to"
        )
    return False


def name_outputs(
    found: Sequence[Found],
    output: Path,
    *,
    formats: Sequence[str],
    template: str | None,
    fields: Sequence[Mapping[str, str]],
) -> list[Path]:
    """Return the output of every scan: a file for one scan, else paths in a folder.

    `formats` are keys of :data:`FORMATS`; `fields` are the values of ``{scale}`` and ``{model}`` in
    `template`, one mapping a scan. Without a template an output is called like its input. Raises ConfigError
    if the output is one file for several scans or for a series, or the template has an unknown field.
    """
    if is_output_file(output):
        if len(found) != 1:
            raise ConfigError(f"{output} is one file, but there are {len(found)} scans; give a folder")
        if output.suffix.lower() == ".dcm" and formats[0] != "parametric-map":
            raise ConfigError(
                f"{output} is one file, and a DICOM series is many; give a folder, or --format parametric-map"
            )
        return [output]
    names = [
        _name_output(item, place, kind, template, values)
        for item, place, kind, values in zip(found, _list_places(found), formats, fields, strict=True)
    ]
    return [output / name for name in names]


def anonymise(item: Found) -> Found:
    """Return a DICOM series whose output is named by a hash: folders may be called like their patients."""
    if item.scan.kind != "dicom":
        return item
    identity = f"{item.scan.series_uid or item.label} {item.scan.facts.get('split', '')}"
    return replace(item, place=Path(f"scan-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"))


def _list_places(found: Sequence[Found]) -> list[Path]:
    """Return places without suffix; a series that shares its folder gets a folder of its own below it."""
    count = Counter(item.place for item in found)
    above = Counter(parent for item in found for parent in item.place.parents)
    places = []
    seen: Counter[Path] = Counter()
    for item in found:
        place = item.place
        if item.scan.kind == "dicom" and (count[place] > 1 or above[place]):
            place = place / _name_series(item.scan)
            seen[place] += 1
            place = place if seen[place] == 1 else place.with_name(f"{place.name}-{seen[place]}")
        places.append(place)
    return places


def _name_series(scan: Scan) -> str:
    """Return the name of a series among others."""
    number = scan.facts.get("series_number")
    if number is not None:
        return f"series-{number}"
    return f"series-{scan.series_uid.rsplit('.', 1)[-1]}" if scan.series_uid else "series"


def _name_output(
    item: Found, place: Path, kind: str, template: str | None, values: Mapping[str, str]
) -> Path:
    """Return the relative path of an output."""
    suffix = FORMATS[kind][0] if FORMATS[kind] else ""
    stem = _strip_suffixes(place.name)
    if template is None:
        return place if place.name.lower().endswith(FORMATS[kind]) else place.with_name(stem + suffix)
    number = item.scan.facts.get("series_number")
    known = {"stem": stem, "SeriesNumber": "" if number is None else str(number), **values}
    _check_template(template)
    name = template.format_map(known)
    relative = PurePath(name)
    if not name or relative.is_absolute() or ".." in relative.parts:
        raise ConfigError(f"--name {template!r} makes {name!r}; it must be a name below the output folder")
    if not name.lower().endswith(FORMATS[kind] or ("",)):
        relative = relative.with_name(relative.name + suffix)
    return place.parent / relative


def _check_template(template: str) -> None:
    """Raise ConfigError for fields that a name cannot have."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise ConfigError(
            f"--name {template!r} is not a template ({error}); write fields as {{stem}}"
        ) from error
    for field in fields:
        if field not in FIELDS:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise ConfigError(f"unknown field {{{field}}} in --name {template!r}; use {known}")


def _strip_suffixes(name: str) -> str:
    """Return a name without the suffixes of an image; dots of a date or a UID stay."""
    path = PurePath(name)
    while path.suffix.lower() in _IMAGE_SUFFIXES and path.stem:
        path = path.with_suffix("")
    return path.name


def check_names(outputs: Sequence[tuple[Path, str]], inputs: Sequence[Scan]) -> None:
    """Raise ConfigError where outputs, with the labels of their scans, meet each other or an input."""
    taken: dict[Path, str] = {}
    for path, label in outputs:
        whole = path.resolve()
        if whole in taken:
            raise ConfigError(
                f"{taken[whole]} and {label} would both be written to {path}; "
                "give their common folder as input, or --name"
            )
        taken[whole] = label
    for path, label in taken.items():
        if above := next((parent for parent in path.parents if parent in taken), None):
            raise ConfigError(
                f"the output of {label} would lie inside that of {taken[above]}, {above}; give --name"
            )
    for scan in inputs:
        for file in {scan.path.resolve(), *(file.resolve() for file in scan.files)}:
            if met := next((path for path in (file, *file.parents) if path in taken), None):
                raise ConfigError(f"the output {met} would replace the input {file}; give another folder")


def drop_outputs(found: Sequence[Found], output: Path) -> list[Found]:
    """Return the inputs without results of an earlier run, where the output folder is in an input folder."""
    if is_output_file(output):  # it may be an input that was named, which is never replaced
        return list(found)
    folder = output.resolve()
    return [item for item in found if not _is_result(item, folder)]


def _is_result(item: Found, folder: Path) -> bool:
    root = item.root.resolve()
    inside = folder != root and folder.is_relative_to(root)
    return inside and item.scan.path.resolve().is_relative_to(folder)
