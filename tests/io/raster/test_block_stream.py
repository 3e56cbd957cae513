"""A raster passes through in one stream: memory does not grow with it, and nothing waits that need not."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import rasterio
from helpers.builders import raster
from rasterio.transform import from_origin

from sr_imaging import write
from sr_imaging.io.raster import block_stream as geotiff_stream


def made(path: Path, side: int) -> Path:
    """A raster of four bands, written in parts."""
    facts = {"driver": "GTiff", "width": side, "height": side, "count": 4, "dtype": "uint8", "tiled": True}
    row = (np.arange(side) // 7 % 200).astype(np.uint8)
    with rasterio.open(path, "w", crs="EPSG:32632", transform=from_origin(5e5, 5e6, 10, 10), **facts) as dst:
        for _, window in dst.block_windows(1):
            part = row[window.col_off : window.col_off + window.width]
            dst.write(np.broadcast_to(part, (4, window.height, window.width)), window=window)
    return path


PEAK = """
import re, sys
from pathlib import Path

from sr_imaging import read, upscale, write
from sr_imaging.io.raster import pixels
from sr_imaging.networks import build_generator

pixels._CHUNK_BYTES = (2**19, 2**19)
generator = build_generator("espcn", {"scale": (2, 2), "channels": 4})
write(upscale(read(sys.argv[1]), generator), sys.argv[2], format=sys.argv[3])
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells the peak of one process")
@pytest.mark.parametrize("format", ["geotiff", "cog"])
def test_memory_does_not_grow_with_the_image(tmp_path: Path, format: str) -> None:
    """Sixteen times the pixels through a network, in a tenth more memory of the whole process."""
    peaks = []
    for side in (640, 2560):
        command = [
            sys.executable,
            "-c",
            PEAK,
            made(tmp_path / f"{side}.tif", side),
            tmp_path / "sr.tif",
            format,
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks.append(int(told.split()[-1]))
        (tmp_path / "sr.tif").unlink()
    assert peaks[1] < 1.1 * peaks[0]  # 105 MB are the larger result alone


def lazy(blocks: int, made_one: Any) -> Any:
    """A column of blocks of 256² pixels."""
    base = dask.array.zeros((1, 256 * blocks, 256), chunks=(1, 256, 256), dtype=np.uint8)
    told = base.map_blocks(made_one, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    return raster((1, 256 * blocks, 256), dtype="uint8").copy(data=told)


def test_blocks_are_computed_while_others_are_written() -> None:
    began = threading.Event()

    def told(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info[0]["chunk-location"][1] == 2:
            began.set()
        return block

    for number, _ in enumerate(geotiff_stream.blocks_of(lazy(12, told))):
        if number == 0:  # in the writer's hands
            assert began.wait(20)


def test_no_more_blocks_are_in_hand_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geotiff_stream, "_IN_HAND_BYTES", 3 * 256**2)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    made_so_far: list[int] = []

    def count(block: np.ndarray) -> np.ndarray:
        made_so_far.append(1)
        return block

    for number, _ in enumerate(geotiff_stream.blocks_of(lazy(12, count))):
        time.sleep(0.01)
        assert len(made_so_far) <= number + 1 + 3 + 1


def test_blocks_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    def late(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        row = block_info[0]["chunk-location"][1]
        time.sleep(0.02 * (row % 3 == 0))
        return block + np.uint8(row)

    with rasterio.open(write(lazy(7, late), tmp_path / "a.tif")) as src:
        np.testing.assert_array_equal(src.read(1)[::256, 0], range(7))


def test_the_first_failure_stops_the_rest(tmp_path: Path) -> None:
    seen: list[int] = []

    def broken(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        seen.append(block_info[0]["chunk-location"][1])
        if seen[-1] == 2:
            raise ValueError("block 2")
        return block

    with pytest.raises(ValueError, match="block 2"):
        write(lazy(40, broken), tmp_path / "a.tif")
    assert len(seen) < 15
    assert list(tmp_path.iterdir()) == []


def test_a_chosen_scheduler_of_threads_changes_nothing(tmp_path: Path) -> None:
    da = raster((2, 600, 700), dtype="uint8").chunk(y=256, x=256)
    with dask.config.set(scheduler="threads", num_workers=1):
        one = write(da, tmp_path / "a.tif")
    assert one.read_bytes() == write(da, tmp_path / "b.tif").read_bytes()
