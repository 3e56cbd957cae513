"""What a batch remembers: which input, model and parameters a finished output was made from."""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sr_imaging.io.scan import Scan

__all__ = ["Journal", "fingerprint", "parameters_sha256"]

JOURNAL = ".sr_imaging-done.jsonl"
_BESIDE = (".aux.xml", ".msk")  # what GDAL reads with a raster
_WORLD_FILES = (".tfw", ".wld")

log = logging.getLogger(__name__)


def parameters_sha256(parameters: Mapping[str, Any]) -> str:
    """Return the hash of parameters, written as JSON."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(scan: Scan) -> str:
    """Return the hexadecimal SHA-256 of all bytes that a scan is read from; reads them all.

    Files beside a raster that place it count as well; of a URL only the address does.
    """
    digest = hashlib.sha256(str(scan.facts.get("split", "")).encode())
    if not scan.files:
        digest.update(str(scan.path).encode())
    for path in sorted(_list_files(scan)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _list_files(scan: Scan) -> Iterable[Path]:
    """Yield the files of a scan, those inside a store included."""
    for path in scan.files:
        if path.is_dir():
            yield from (inner for inner in path.rglob("*") if inner.is_file())
            continue
        yield path
        if scan.kind in ("geotiff", "raster"):
            beside = [path.with_name(path.name + suffix) for suffix in _BESIDE]
            beside += [path.with_suffix(suffix) for suffix in _WORLD_FILES]
            yield from (other for other in beside if other.is_file())


class Journal:
    """Finished outputs of a folder and what they were made from, a hidden file with one line of JSON each.

    An output counts as finished only if it is there, is the very file that was written (size and time), and
    was made from the same input, model and parameters.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self._entries: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._remember(line)

    def _remember(self, line: str) -> None:
        """Remember a line; one that was cut short by a crash is left out."""
        try:
            entry = json.loads(line)
            self._entries[entry["output"]] = entry
        except (ValueError, KeyError, TypeError):
            log.debug("left out a damaged line of %s", self.path)

    def is_up_to_date(self, output: Path, hashes: Mapping[str, str]) -> bool:
        """Return whether an output is finished and was made from what these hashes stand for."""
        entry = self._entries.get(self._find_key(output))
        if entry is None or not output.exists():
            return False
        return entry.get("hashes") == dict(hashes) and entry.get("stamp") == _hash_stamp(output)

    def add(self, output: Path, hashes: Mapping[str, str]) -> None:
        """Add a finished output; raises OSError if the journal cannot be written."""
        key = self._find_key(output)
        entry: dict[str, Any] = {"output": key, "hashes": dict(hashes), "stamp": _hash_stamp(output)}
        self._entries[key] = entry
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _find_key(self, output: Path) -> str:
        """Return the path of an output relative to the folder of the journal."""
        return output.relative_to(self.path.parent).as_posix()


def _hash_stamp(output: Path) -> str:
    """Return the hash of names, sizes and times of an output's files."""
    files = sorted(path for path in output.rglob("*") if path.is_file()) if output.is_dir() else [output]
    facts = [(path.relative_to(output).as_posix(), *_read_size_and_time(path)) for path in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read_size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
