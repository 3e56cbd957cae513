"""Throughput of a dask cluster on this machine, against threads alone, and what it sends.

    python benchmarks/cluster.py [--quick] [--device cuda]

The same lazy raster is super-resolved into a Zarr store by threads of one process, by one worker process and
by several. On one machine more workers share the same cores, so a ratio near 1 is the best possible: the rest
is the cost of the cluster. With `--device cuda` the figure per worker is that of a GPU.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cloudpickle
import dask.array
import numpy as np
import xarray as xr

import sr_imaging
from sr_imaging.inference.tiling.cluster import connect


def make_raster(side: int, chunk: int) -> xr.DataArray:
    """Return a lazy band of `side` by `side` pixels, computed by whoever needs a block."""
    data = dask.array.random.default_rng(0).normal(1000, 100, (side, side), chunks=chunk)
    axis = 10.0 * np.arange(side)
    return xr.DataArray(
        data.astype(np.float32), dims=("y", "x"), coords={"y": axis[::-1], "x": axis}, name="band"
    )


def time_run(da: xr.DataArray, model: Any, device: str, folder: Path) -> float:
    """Return the seconds of one run into a store, after one block that makes the workers ready."""
    sr = sr_imaging.upscale(da, model, device=device)
    sr.isel(y=slice(0, 8), x=slice(0, 8)).compute()
    began = time.perf_counter()
    sr_imaging.write(sr, folder / f"{time.monotonic_ns()}.zarr")
    return time.perf_counter() - began


def main() -> int:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small image, to see that it runs")
    parser.add_argument("--device", default="auto", help="as in upscale")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="numbers of workers to try")
    parser.add_argument("--side", type=int, default=1536, help="LR pixels of a side")
    options = parser.parse_args()
    side, chunk = (256, 128) if options.quick else (options.side, 256)
    da, model = make_raster(side, chunk), sr_imaging.load_model("raster-x2")
    with tempfile.TemporaryDirectory() as folder:
        alone = time_run(da, model, options.device, Path(folder))
        print(f"{'':>10} {'seconds':>8} {'LR Mpixel/s':>12} {'of threads':>11} {'per worker':>11}")
        print(f"{'threads':>10} {alone:>8.1f} {side**2 / alone / 1e6:>12.3f} {1:>11.2f}")
        for count in options.workers:
            with connect(f"local:{count}"):
                took = time_run(da, model, options.device, Path(folder))
                graph = len(cloudpickle.dumps(dict(sr_imaging.upscale(da, model).data.__dask_graph__())))
            rate = side**2 / took / 1e6
            name = f"{count} worker{'s' * (count > 1)}"
            print(f"{name:>10} {took:>8.1f} {rate:>12.3f} {alone / took:>11.2f} {rate / count:>11.3f}")
    weights = sum(4 * tensor.numel() for tensor in model.state_dict().values())
    print(f"graph of {(side // chunk) ** 2} blocks: {graph / 1e3:.0f} kB; ", end="")
    print(f"weights, sent once to each worker: {weights / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
