"""Peak memory of super-resolving a raster from file to file, against the size of the image.

    python benchmarks/memory.py [--quick] [--sides 2048 8192] [--model nearest] [--format cog]

Each size runs in a process of its own. The floor is the memory of the process after its imports; the image in
float32 is printed as well, to show what a tool that holds it whole would add.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def write_raster(path: Path, side: int) -> None:
    """Write a tiled uint16 GeoTIFF of four bands."""
    import rasterio
    from rasterio.transform import from_origin

    facts = {"driver": "GTiff", "width": side, "height": side, "count": 4, "dtype": "uint16"}
    facts |= {"tiled": True, "compress": "deflate", "crs": "EPSG:32632"}
    rng = np.random.default_rng(0)
    with rasterio.open(path, "w", transform=from_origin(500000, 5000000, 10, 10), **facts) as file:
        for band in range(1, 5):
            file.write(
                (rng.normal(size=(side, side)).cumsum(1) * 10 + 3000).clip(0, 9999).astype("uint16"), band
            )


def run_child(source: str, target: str, model: str, format: str) -> None:
    """Print the peak memory after the imports, or after the work, in MB."""
    import sr_imaging

    classical = model in ("nearest", "cubic")
    loaded = sr_imaging.load_model(model, scale=(2, 2)) if classical else sr_imaging.load_model(model)
    if source != "imports":
        sr_imaging.write(sr_imaging.upscale(sr_imaging.read(source), loaded), target, format=format)
    # VmHWM is of this process alone; ru_maxrss would begin at the peak of the one that started it.
    print(int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)


def measure_peak(source: Path | str, target: Path, model: str, format: str) -> float:
    """Return the peak memory of a child process in MB."""
    command = [sys.executable, __file__, "--child", str(source), str(target), model, format]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> int:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small images, to see that it runs")
    parser.add_argument("--sides", nargs="+", type=int, default=(2048, 8192), help="of the LR images")
    parser.add_argument("--model", default="raster-x2")
    parser.add_argument("--format", default="geotiff", choices=("geotiff", "cog"))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(*options.child)
        return 0
    sides = (256, 512) if options.quick else options.sides
    with tempfile.TemporaryDirectory() as folder:
        floor = measure_peak("imports", Path(folder), options.model, options.format)
        print(
            f"{'LR image':>14} {'SR in float32':>14} {'peak':>10} {'over imports':>14} {'over smallest':>14}"
        )
        first = None
        for side in sides:
            source, target = Path(folder, f"{side}.tif"), Path(folder, f"{side}-sr.tif")
            write_raster(source, side)
            used = measure_peak(source, target, options.model, options.format)
            first = first or used
            whole = 4 * (2 * side) ** 2 * 4 / 2**20
            size, more = f"{side:>6} x {side:<5}", used - floor
            print(f"{size} {whole:>11.0f} MB {used:>7.0f} MB {more:>11.0f} MB {used / first:>13.2f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
