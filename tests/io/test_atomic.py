"""Outputs appear whole or not at all."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from sr_imaging import ResourceError, WriteError, find_scans
from sr_imaging.errors import ReadError
from sr_imaging.io.atomic import whole_output


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_output_that_another_run_made_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"

    def write_late() -> None:
        with whole_output(path) as temporary:
            temporary.write_text("ours")
            path.write_text("theirs")

    with pytest.raises(WriteError, match=r"a.tif exists; pass overwrite=True"):
        write_late()
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["a.tif"]


def test_file_takes_its_name_when_the_block_succeeds(tmp_path: Path) -> None:
    with whole_output(tmp_path / "new" / "a.tif") as temporary:
        temporary.write_text("x")
        assert names(tmp_path / "new") == [temporary.name]
        assert temporary.name.endswith("a.tif")
    assert names(tmp_path / "new") == ["a.tif"]


def test_existing_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("old")
    with (
        pytest.raises(WriteError, match=r"a.tif exists; pass overwrite=True or choose another name"),
        whole_output(tmp_path / "a.tif"),
    ):
        pytest.fail("the block must not run")


def write_half(path: Path, error: BaseException) -> None:
    """Begin a folder and fail."""
    with whole_output(path, overwrite=True) as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("x")
        raise error


def write_text(path: Path, text: str = "x") -> None:
    with whole_output(path, overwrite=True) as temporary:
        temporary.write_text(text)


def test_old_output_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("old")
    with pytest.raises(KeyError, match="half"):
        write_half(path, KeyError("half"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("old", ["file", "folder"])
def test_folder_replaces_what_was_there(tmp_path: Path, old: str) -> None:
    path = tmp_path / "series"
    if old == "folder":
        path.mkdir()
        (path / "old.dcm").write_text("x")
    else:
        path.write_text("x")
    with whole_output(path, overwrite=True) as temporary:
        temporary.mkdir()
        (temporary / "new.dcm").write_text("y")
    assert names(tmp_path) == ["series"]
    assert names(path) == ["new.dcm"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt("now"), SystemExit("now")])
def test_interrupt_leaves_nothing(tmp_path: Path, interrupt: BaseException) -> None:
    with pytest.raises(type(interrupt), match="now"):
        write_half(tmp_path / "a", interrupt)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "kind", "remedy"),
    [
        (errno.ENOSPC, ResourceError, "free some disk space"),
        (errno.EDQUOT, ResourceError, "free some disk space"),
        (errno.EACCES, WriteError, "choose a folder you may write to"),
        (errno.EROFS, WriteError, "choose a folder that is not read-only"),
    ],
)
def test_errors_of_the_system_become_ours(
    tmp_path: Path, code: int, kind: type[Exception], remedy: str
) -> None:
    path = tmp_path / "a.tif"
    with (
        pytest.raises(kind, match=rf"cannot write {path}: {os.strerror(code)}; {remedy}"),
        whole_output(path),
    ):
        raise OSError(code, os.strerror(code))


def test_folder_that_is_a_file_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WriteError, match=r"a.tif: (Not a directory|File exists); a part of the path is a"):
        write_text(tmp_path / "file" / "a.tif")


def test_our_errors_name_the_output_not_the_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with pytest.raises(WriteError, match=f"^{path} came out small$"), whole_output(path) as temporary:
        raise WriteError(f"{temporary} came out small")


def test_read_errors_inside_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"^source is damaged$"), whole_output(tmp_path / "a.tif"):
        raise ReadError("source is damaged")


def test_killed_run_leaves_no_output_and_no_scan(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from sr_imaging.io.atomic import whole_output\n"
        "with whole_output(sys.argv[1]) as temporary:\n"
        "    temporary.write_bytes(b'II*' + bytes(99))\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.tif")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    assert not (tmp_path / "a.tif").exists()
    assert len(names(tmp_path)) == 1
    with pytest.raises(ReadError, match=r"no readable scan"):
        find_scans(tmp_path)


def test_full_file_system_limit_is_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(WriteError, match=r"File too large; choose a disk that holds larger files"):
            write_text(tmp_path / "a.nii", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert names(tmp_path) == []


def test_two_writers_of_one_name_do_not_mix(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from sr_imaging.io.atomic import whole_output\n"
        "with whole_output(sys.argv[1], overwrite=True) as temporary:\n"
        "    for _ in range(20):\n"
        "        with temporary.open('a') as file: file.write(sys.argv[2])\n"
        "        time.sleep(0.005)\n"
    )
    path = tmp_path / "a.txt"
    running = [subprocess.Popen([sys.executable, "-c", script, str(path), mark]) for mark in "ab"]
    for process in running:
        assert process.wait(timeout=30) == 0
    assert path.read_text() in ("a" * 20, "b" * 20)
    assert names(tmp_path) == ["a.txt"]
    assert time.time() - path.stat().st_mtime < 60


def test_a_folder_that_threads_still_write_to_is_removed(tmp_path: Path) -> None:
    def write_late(folder: Path) -> None:
        for number in range(300):
            with suppress(OSError):
                (folder / str(number)).touch()
            time.sleep(0.001)

    def fail() -> None:
        with whole_output(tmp_path / "a.zarr") as temporary:
            temporary.mkdir()
            for _ in range(3):
                late.submit(write_late, temporary)
            time.sleep(0.05)
            raise ReadError("no such block; fetch it again")

    with ThreadPoolExecutor() as late, pytest.raises(ReadError, match="no such block"):
        fail()
    assert names(tmp_path) == []
