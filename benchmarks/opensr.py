"""Speed and scratch space of a raster from file to file, against opensr-utils 2 with the same weights.

    python -m venv benchmarks/.venv-opensr
    benchmarks/.venv-opensr/bin/pip install "opensr-utils>=2"
    python benchmarks/opensr.py [--quick]

Both run the bundled raster-x2 on the same GeoTIFF of four bands, opensr-utils as TorchScript with a
replicated border and its default windows. Each run has a process of its own; the seconds are those of
reading, computing and writing, without imports. Scratch is the most disk space used beyond the finished
output, as a multiple of it. The share of the network is the time inside it over the time of sr_imaging.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, cast

THEIRS = """
import json, sys, time, torch
from opensr_utils import super_resolve
class Model(torch.nn.Module):
    factor = 2
    def __init__(self, path):
        super().__init__()
        self.script = torch.jit.load(path)
    def forward(self, x):
        return self.script(x)
source, target, script = sys.argv[1:]
began = time.perf_counter()
super_resolve(source, Model(script), target, factor=2, device="cpu", overwrite=True)
print(json.dumps({"seconds": time.perf_counter() - began}))
"""


def run_child(source: str, target: str) -> None:
    """Super-resolve with sr_imaging; print the seconds and the share of them in the network."""
    import torch

    import sr_imaging

    model = sr_imaging.load_model("raster-x2")
    inside: list[float] = []
    forward = type(model).forward

    def timed(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        began = time.perf_counter()
        made: torch.Tensor = forward(self, x)
        inside.append(time.perf_counter() - began)
        return made

    type(model).forward = timed
    began = time.perf_counter()
    sr_imaging.write(sr_imaging.upscale(sr_imaging.read(source), model, device="cpu"), target)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "network": sum(inside) / seconds}))


def save_script(path: Path) -> None:
    """Save the bundled model as TorchScript that takes any number of bands and pads its input."""
    import torch

    import sr_imaging
    from sr_imaging.networks import layers

    model: Any = sr_imaging.load_model("raster-x2")
    halo, crop = max(model.halo), layers.crop

    def plain_crop(x: Any, width: Any, dims: int) -> Any:
        return crop(x, width if isinstance(width, tuple) else int(width), dims)

    # a trace sees the sizes of an image as tensors; the width to crop does not depend on them
    for name, module in sys.modules.items():
        if name.startswith("sr_imaging.networks.") and getattr(module, "crop", None) is crop:
            cast(Any, module).crop = plain_crop

    class Padded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = torch.nn.functional.pad(x.flatten(0, 1)[:, None], (halo,) * 4, mode="replicate")
            made = self.model(wide)
            return cast(torch.Tensor, made.reshape(*x.shape[:2], *made.shape[-2:]))

    with torch.inference_mode():
        cast(Any, torch.jit).trace(Padded(), torch.rand(2, 4, 128, 128)).save(str(path))


def run_watched(command: list[str], folder: Path, target: Path) -> dict[str, float]:
    """Run a command; return what it printed, and the peak scratch space as a multiple of its output."""
    most, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            sizes = (file.lstat().st_size for file in folder.rglob("*") if file.is_file())
            try:
                most[0] = max(most[0], sum(sizes))
            except FileNotFoundError:
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    environment = {**os.environ, "TMPDIR": str(folder)}
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, cwd=folder
        )
    finally:
        stop.set()
        thread.join()
    printed: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return printed | {"scratch": max(0, most[0] / target.stat().st_size - 1)}


def main() -> int:
    """Print one line for each pair of runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small image, to see that it runs")
    parser.add_argument(
        "--python", default=Path(__file__).with_name(".venv-opensr") / "bin/python", type=Path
    )
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(*options.child)
        return 0
    if not options.python.exists():
        print(f"skipped: no opensr-utils at {options.python}")
        return 0
    from memory import write_raster

    side, runs = (256, 1) if options.quick else (options.side, options.runs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_raster(folder / "in.tif", side)
        save_script(folder / "model.pt")
        (folder / "theirs").mkdir()
        (folder / "ours").mkdir()
        heads = ("ours", "theirs", "speed", "scratch", "theirs", "network")
        print(f"{'LR image':>14} " + " ".join(f"{head:>8}" for head in heads))
        for _ in range(runs):
            inputs = [str(folder / "in.tif")]
            targets = [folder / part / "out.tif" for part in ("ours", "theirs")]
            for target in targets:
                target.unlink(missing_ok=True)
            own = [sys.executable, str(Path(__file__).absolute()), "--child", *inputs, str(targets[0])]
            other = [
                str(options.python.absolute()),
                "-c",
                THEIRS,
                *inputs,
                str(targets[1]),
                str(folder / "model.pt"),
            ]
            a, b = (
                run_watched(own, folder / "ours", targets[0]),
                run_watched(other, folder / "theirs", targets[1]),
            )
            size = f"{side:>6} x {side:<5}"
            cells = [f"{a['seconds']:.1f} s", f"{b['seconds']:.1f} s", f"{b['seconds'] / a['seconds']:.2f}"]
            cells += [f"{a['scratch']:.2f}", f"{b['scratch']:.2f}", f"{a['network']:.1%}"]
            print(f"{size} " + " ".join(f"{cell:>8}" for cell in cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
