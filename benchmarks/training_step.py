"""The generator's step alone: its share of a device's bf16 peak, and what torch.compile gains.

    python benchmarks/training_step.py [--quick] [--device cuda] [--peak-tflops 990]

The floor is the arithmetic of the step, forward and backward, over the peak that the maker of the device
states for dense bf16; without ``--peak-tflops`` only the arithmetic per second is printed. On a CPU the step
runs in float32 with a network as large as the bundled ones. Compiled and plain steps take turns.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from common import format_ratio, time_pairs
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sr_imaging.losses.image_terms import PIXEL_LOSSES
from sr_imaging.networks import build_generator

# channels, blocks, LR pixels of a patch, patches
SIZES = {"cuda": (64, 16, 64, 64), "cpu": (32, 4, 64, 8)}


def prepare_batch(device: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a generator, and the LR patches with halo and HR patches of a batch."""
    channels, blocks, side, batch = SIZES[device]
    arguments = {"scale": (2, 2), "channels": channels, "blocks": blocks}
    generator = build_generator("srresnet", arguments).to(device).train()
    wide = [side + 2 * h for h in generator.halo]
    shapes = (batch, 1, *wide), (batch, 1, 2 * side, 2 * side)
    lr, hr = (torch.randn(shape, device=device) for shape in shapes)
    return generator, lr, hr


def make_step(
    generator: nn.Module, forward: Callable[[Tensor], Tensor], lr: Tensor, hr: Tensor
) -> Callable[[], None]:
    """Return one step of the pixel phase: forward, backward, Adam."""
    optimiser = torch.optim.Adam(generator.parameters(), lr=1e-4)
    device = lr.device.type
    precision = partial(torch.autocast, device, torch.bfloat16, enabled=device == "cuda")

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with precision():
            sr = forward(lr)
        PIXEL_LOSSES["charbonnier"](sr.float(), hr).backward()
        optimiser.step()

    return step


def repeat_step(step: Callable[[], None], count: int, device: str) -> None:
    """Run some steps, and wait until the device has done them."""
    for _ in range(count):
        step()
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> int:
    """Print the share of the peak and the ratio of compiled to plain steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--peak-tflops", type=float, help="dense bf16 of the device, as its maker states it")
    options = parser.parse_args()
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = found if options.device == "auto" else options.device
    if device == "cuda" and found == "cpu":
        print("no CUDA device here; nothing measured")
        return 0
    generator, lr, hr = prepare_batch(device)
    plain = make_step(generator, generator, lr, hr)
    with FlopCounterMode(display=False) as counter:
        plain()
    count = 1 if options.quick else 5 if device == "cpu" else 50
    repeat_step(plain, count, device)
    began = time.perf_counter()
    repeat_step(plain, count, device)
    speed = counter.get_total_flops() * count / (time.perf_counter() - began) / 1e12
    share = f", {speed / options.peak_tflops:.0%} of the peak" if options.peak_tflops else ""
    print(f"{device}: {speed:.2f} Tflop/s in the generator's step{share}")
    compiled = make_step(generator, torch.compile(generator), lr, hr)
    pairs = time_pairs(
        partial(repeat_step, compiled, count, device),
        partial(repeat_step, plain, count, device),
        runs=1 if options.quick else 5,
    )
    print(f"{device}: torch.compile is {format_ratio(pairs)} times as fast as without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
