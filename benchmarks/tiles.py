"""Tiled inference against the whole image at once, and against MONAI's sliding window.

    python benchmarks/tiles.py [--quick]

A ratio of 1 means that tiling costs nothing. Printed as well is what the arithmetic alone allows: that of the
network on the tile over that on the tile with its halo, averaged over the layers.
"""

import argparse
import sys
from statistics import median

import numpy as np
import torch
from common import format_ratio, make_image, time_pairs
from monai.inferers import sliding_window_inference

from sr_imaging import load_model
from sr_imaging.image.pixels.values import Values
from sr_imaging.inference.options import EngineSettings
from sr_imaging.inference.tiling.companions import Work
from sr_imaging.inference.tiling.engine import make_engine
from sr_imaging.inference.tiling.tiler import run
from sr_imaging.networks import build_generator, replicate

FLOORS = {2: 0.90, 3: 0.75}  # least throughput of tiles over that of the whole image, by dims


def run_whole(generator: torch.nn.Module, x: np.ndarray) -> np.ndarray:
    """Return the result of the network on the whole image in one pass."""
    with torch.inference_mode():
        tensor = torch.from_numpy((x - x.mean()) / x.std())[None, None]
        padded = replicate(tensor, [(h, h) for h in generator.halo])
        layout = torch.channels_last if x.ndim == 2 else torch.channels_last_3d
        padded = padded.contiguous(memory_format=layout)
        return generator(padded)[0, 0].numpy() * x.std() + x.mean()


def estimate_bound(generator: torch.nn.Module, tile: tuple[int, ...]) -> float:
    """Return the arithmetic on the tile alone over that with its halo, averaged over the layers."""
    steps = np.linspace(0, 1, 2 * max(generator.halo) + 1)[:, None]
    grown = np.prod(np.array(tile) + 2 * np.array(generator.halo) * steps, axis=1)
    return float(np.prod(tile) / grown.mean())


def compare_with_whole(name: str, model: torch.nn.Module, shape: tuple[int, ...], runs: int) -> float:
    """Print and return the throughput of tiles over that of the whole image."""
    x = make_image(*shape)
    engine = make_engine(model)
    work = Work(Values(x.dtype, x.dtype), tuple(range(x.ndim)))
    pairs = time_pairs(lambda: run(x, engine, work), lambda: run_whole(engine.generator, x), runs)
    gap = np.abs(run(x, engine, work) - run_whole(engine.generator, x)).max() / np.ptp(x)
    tile = tuple(min(n, t) for n, t in zip(shape, engine.tile, strict=True))
    print(
        f"{name:16} {shape!s:16} tile {tile!s:16} tiled/whole {format_ratio(pairs)}, "
        f"arithmetic alone {estimate_bound(engine.generator, tile):.2f}, difference {gap:.1e} of range"
    )
    return median(b / a for a, b in pairs)


def compare_with_monai(
    name: str, model: torch.nn.Module, shape: tuple[int, ...], tile: int, runs: int
) -> None:
    """Print the speed over MONAI's blended windows, and how far each result is from the whole image's."""
    x = make_image(*shape)
    engine = make_engine(model, EngineSettings(tile=tile))
    work = Work(Values(x.dtype, x.dtype), tuple(range(x.ndim)))
    halo = engine.generator.halo

    def padded(t: torch.Tensor) -> torch.Tensor:
        return engine.generator(replicate(t, [(h, h) for h in halo]))

    def monai() -> np.ndarray:
        with torch.inference_mode():
            tensor = torch.from_numpy((x - x.mean()) / x.std())[None, None]
            size = (tile,) * x.ndim
            y = sliding_window_inference(tensor, size, 4, padded, overlap=0.25, mode="gaussian")
            return y[0, 0].numpy() * x.std() + x.mean()

    pairs = time_pairs(lambda: run(x, engine, work), monai, runs)
    truth = run_whole(engine.generator, x)
    ours = np.abs(run(x, engine, work) - truth).max() / np.ptp(x)
    theirs = np.abs(monai() - truth).max() / np.ptp(x)
    print(
        f"{name:16} {shape!s:16} tile {tile:4} speed over MONAI {format_ratio(pairs)}, "
        f"seam error {ours:.1e} of range, MONAI's {theirs:.1e}"
    )


def main() -> int:
    """Print all ratios; return 1 where a floor is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small images, to see that it runs")
    quick = parser.parse_args().quick
    torch.manual_seed(0)
    runs, side, depth = (1, 300, 40) if quick else (3, 1536, 112)
    raster = load_model("raster-x2")
    through = load_model("mr-through-x4")
    cube = build_generator("srresnet", {"scale": (2, 2, 2), "channels": 16, "blocks": 4})
    kept = [
        compare_with_whole("raster-x2", raster, (side, side), runs) >= FLOORS[2],
        compare_with_whole("mr-through-x4", through, (depth // 4, depth, depth), runs) >= FLOORS[3],
        compare_with_whole("3-D, same depth", cube, (depth,) * 3, runs) >= FLOORS[3],
    ]
    compare_with_monai("raster-x2", raster, (side // 2,) * 2, side // 8, runs)
    compare_with_monai("3-D, same depth", cube, (96,) * 3, 48, runs)
    return 0 if quick or all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
