"""Laws of the generators: halo, shape, gradients, any unit, and interpolations against other people's."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import Strided, generator, run_padded, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from sr_imaging import ModelError
from sr_imaging.image.pixels.kernels import interpolation_weights
from sr_imaging.inference.tiling.wrappers import BothPlanes
from sr_imaging.networks import (
    CLASSICAL,
    GENERATORS,
    INTERPOLATIONS,
    Generator,
    Trimmed,
    build_generator,
    check_generator,
    replicate,
)

LEARNED: list[tuple[str, dict[str, Any]]] = [
    ("espcn", {"scale": (2, 2)}),
    ("espcn", {"scale": (3, 2), "in_channels": 2}),
    ("espcn", {"scale": (4, 1), "axes": ("z", "plane")}),
    ("espcn", {"scale": (2, 1, 3), "channels": 4}),
    ("srresnet", {"scale": (2, 3)}),
    ("srresnet", {"scale": (1, 4), "in_channels": 3, "blocks": 2}),
    ("srresnet", {"scale": (5, 1), "axes": ("z", "plane")}),
    ("srresnet", {"scale": (3, 1, 2), "channels": 3}),
    ("edsr", {"scale": (2, 3)}),
    ("edsr", {"scale": (2, 1, 3), "channels": 3}),
    ("srcnn", {"scale": (2, 3)}),
    ("srcnn", {"scale": (4, 1), "axes": ("z", "plane")}),
    ("srcnn", {"scale": (1, 2, 3), "channels": 4, "in_channels": 2}),
    ("vdsr", {"scale_range": ((1.0, 1.0), (1.5, 4.0))}),
    ("vdsr", {"scale_range": ((2.0, 6.0), (1.0, 1.0)), "axes": ("z", "plane"), "depth": 2}),
    ("vdsr", {"scale_range": ((1.0, 4.0), (1.0, 3.0), (1.0, 3.0)), "in_channels": 2}),
    ("rrdb", {"scale": (2, 3)}),
    ("rrdb", {"scale": (4, 1), "axes": ("z", "plane"), "in_channels": 2}),
    ("rrdb", {"scale": (2, 1, 3), "channels": 2, "growth": 1}),
    ("attention", {"scale": (3, 2), "blocks": 2}),
    ("attention", {"scale": (4, 1), "axes": ("z", "plane"), "taps": 5}),
    ("attention", {"scale": (1, 2, 3), "channels": 3, "in_channels": 2}),
    ("vae", {"scale": (3, 2), "depth": 2}),
    ("vae", {"scale": (4, 1), "axes": ("z", "plane"), "in_channels": 2}),
    ("vae", {"scale": (1, 2, 3), "channels": 3}),
    ("espcn", {"scale": (3, 2), "latent_channels": 2, "in_channels": 3}),
    ("attention", {"scale": (4, 1), "axes": ("z", "plane"), "latent_channels": 1}),
    ("srresnet", {"scale": (1, 2, 3), "channels": 3, "latent_channels": 1}),
    ("vdsr", {"scale_range": ((1.0, 1.0), (1.5, 4.0)), "latent_channels": 1}),
]
FIXED: list[tuple[str, dict[str, Any]]] = [
    (name, {"scale": scale}) for name in CLASSICAL for scale in ((2, 3), (1, 4), (3, 1, 2))
]
every = pytest.mark.parametrize(("architecture", "arguments"), LEARNED + FIXED)
learned = pytest.mark.parametrize(("architecture", "arguments"), LEARNED)


def make(architecture: str, arguments: dict[str, Any], **more: Any) -> Any:
    if architecture in CLASSICAL:
        return build_generator(architecture, arguments)
    return generator(architecture, **arguments, **more)


def image(module: Generator, sizes: tuple[int, ...] = (7, 6, 5), seed: int = 0) -> Tensor:
    shape = (2, module.in_channels, *sizes[: module.spatial_dims])
    return torch.tensor(smooth(shape, seed=seed), dtype=torch.float32)


def reach_of(module: Any, size: int, place: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last LR pixel, along each axis, that the result at one LR pixel depends on.

    By the gradient, because what comes through a deep chain of small weights is lost beside 1 in a sum.
    """
    halo = module.halo
    wide = [size + 2 * h for h in halo]
    x = torch.tensor(smooth((1, module.in_channels, *wide), seed=1)).requires_grad_()
    bands = getattr(module, "latent_channels", 0)
    noise = {"latent": torch.tensor(smooth((1, bands, *wide), seed=2))} if bands else {}
    y = module.double()(x, **noise)
    for k, (p, s) in enumerate(zip(place, module.scale, strict=True)):
        y = y.narrow(2 + k, p * s, s)
    (gradient,) = torch.autograd.grad((y * torch.rand_like(y)).sum(), x)
    touched = gradient[0].abs().sum(0) != 0
    found = []
    for k, h in enumerate(halo):
        others = tuple(d for d in range(touched.ndim) if d != k)
        at = torch.nonzero(touched.any(dim=others)).ravel()
        found.append((int(at.min()) - h, int(at.max()) - h))
    return found


@every
def test_generator_shape_is_the_scaled_core(architecture: str, arguments: dict[str, Any]) -> None:
    module = make(architecture, arguments)
    x = image(module)
    fine = [n * s for n, s in zip(x.shape[2:], module.scale, strict=True)]
    wide = replicate(x, [(h, h) for h in module.halo])
    y = module(wide)
    assert tuple(y.shape) == (2, module.in_channels, *fine)
    assert y.dtype == torch.float32


@every
def test_generator_reaches_as_far_as_its_halo_and_no_further(
    architecture: str, arguments: dict[str, Any]
) -> None:
    module = make(architecture, arguments, gain=1.0)
    halo, size = module.halo, 3  # a pixel beyond the reach on each side
    middle = (1,) * module.spatial_dims
    expected = [(p - h, p + h) for p, h in zip(middle, halo, strict=True)]
    # outermost taps serve one side each, or their tenth power is lost in rounding
    if architecture in ("linear", "cubic", "srcnn", "back-projection"):
        found = reach_of(module, size, middle)
        assert all(a <= f[0] and f[1] <= b for f, (a, b) in zip(found, expected, strict=True))
    else:
        assert reach_of(module, size, middle) == expected


@learned
def test_generator_tile_is_part_of_the_whole(architecture: str, arguments: dict[str, Any]) -> None:
    module = make(architecture, arguments)
    x = image(module, (9, 8, 7))
    whole = run_padded(module, x)
    wide = replicate(x, [(h, h) for h in module.halo])
    at = (2, 1, 3)[: module.spatial_dims]
    window = tuple(slice(a, a + 3 + 2 * h) for a, h in zip(at, module.halo, strict=True))
    part = module(wide[(slice(None), slice(None), *window)])
    fine = tuple(slice(a * s, (a + 3) * s) for a, s in zip(at, module.scale, strict=True))
    torch.testing.assert_close(part, whole[(slice(None), slice(None), *fine)], rtol=0, atol=1e-6)


@learned
def test_gradient_reaches_every_weight_and_the_input(architecture: str, arguments: dict[str, Any]) -> None:
    module = make(architecture, arguments).train()
    x = replicate(image(module), [(h, h) for h in module.halo]).requires_grad_()
    module(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    assert x.grad is not None
    assert (x.grad != 0).float().mean() > 0.5


@learned
def test_fresh_generator_is_its_interpolation(architecture: str, arguments: dict[str, Any]) -> None:
    module: Any = build_generator(architecture, {**arguments, "channels": 4})
    cubic: Any = build_generator("cubic", {"scale": module.scale})  # itself, on the grid of an any-factor one
    torch.testing.assert_close(
        run_padded(module, image(module)), run_padded(cubic, image(module)), rtol=0, atol=1e-6
    )


@every
@settings(max_examples=5, deadline=None)
@given(
    a=st.floats(1e-3, 1e4), b=st.floats(-1e4, 1e4), seed=st.integers(0, 99), gain=st.sampled_from([0.05, 1.0])
)
def test_generator_commutes_with_a_change_of_unit(
    architecture: str, arguments: dict[str, Any], a: float, b: float, seed: int, gain: float
) -> None:
    module = make(architecture, arguments, seed=seed, gain=gain).double()
    x = image(module, (4, 3, 3), seed).double()
    for part in module.modules():  # float32 by rule; the law is tested without that
        if type(part).__name__ == "InterpolationSkip":
            part.forward = _double_skip(part)  # type: ignore[method-assign]
    left, right = run_padded(module, a * x + b), a * run_padded(module, x) + b
    # the detail is rounded to float32; of the constant b nothing may remain but rounding in float64
    torch.testing.assert_close(left, right, rtol=0, atol=1e-6 * a * max(1.0, gain * 10) + 1e-9 * abs(b))


def _double_skip(skip: Any) -> Any:
    from sr_imaging.networks.layers import crop

    return lambda x: skip.interpolate(crop(x, skip.surplus, len(skip.surplus)))


def test_through_plane_generator_on_both_planes_reaches_in_a_cross() -> None:
    planar = generator("espcn", scale=(4, 1), axes=("z", "plane"), gain=1.0)
    both = BothPlanes(planar).double()
    assert both.scale == (4, 1, 1)
    assert both.halo == (4, 4, 4)
    size = 11
    x = torch.tensor(smooth((1, 1, *(size + 8,) * 3)))
    y = x.clone()
    y[0, 0, 9, 9, 9] += 1
    with torch.no_grad():
        changed = (both(y) - both(x))[0, 0] != 0
    touched = changed.reshape(size, 4, size, size).any(1)
    assert touched.any((1, 2)).nonzero().ravel().tolist() == list(range(1, 10))
    cross = torch.zeros(size, size, dtype=torch.bool)
    cross[5, 1:10] = cross[1:10, 5] = True
    assert torch.equal(touched.any(0), cross)


def test_both_planes_are_the_mean_of_the_plane_by_plane_results() -> None:
    planar = generator("srresnet", scale=(3, 1), axes=("z", "plane"))
    x = torch.tensor(smooth((1, 1, 4, 5, 6)), dtype=torch.float32)
    zy = torch.stack([run_padded(planar, x[..., k]) for k in range(6)], -1)
    zx = torch.stack([run_padded(planar, x[..., k, :]) for k in range(5)], -2)
    torch.testing.assert_close(run_padded(BothPlanes(planar), x), (zy + zx) / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("method", "resample"),
    [
        ("linear", Image.Resampling.BILINEAR),
        ("cubic", Image.Resampling.BICUBIC),
        ("lanczos", Image.Resampling.LANCZOS),
        ("nearest", Image.Resampling.NEAREST),
    ],
)
def test_interpolation_equals_pillow_inside(method: str, resample: Any, scale: int) -> None:
    lr = smooth((11, 14), high=255).astype(np.float32)
    module: Any = build_generator(method, {"scale": (scale, scale)})
    ours = run_padded(module, torch.tensor(lr)[None, None])[0, 0].numpy()
    theirs = np.asarray(Image.fromarray(lr).resize((14 * scale, 11 * scale), resample))
    edge = 3 * scale  # Pillow cuts the kernel at the border where we replicate
    inside = (slice(edge, -edge), slice(edge, -edge))
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=2e-4)  # Pillow's float32 sums of 255


def test_cubic_weights_are_those_of_keys() -> None:
    # Keys 1981 with a = -1/2 at offset 1/4: (-9, 111, 29, -3) / 128 for the pixels -1, 0, 1, 2
    weights = interpolation_weights("cubic", np.array([0.25]))
    np.testing.assert_allclose(weights, [[0, -9 / 128, 111 / 128, 29 / 128, -3 / 128]], atol=1e-15)


@pytest.mark.parametrize("method", INTERPOLATIONS)
def test_interpolation_weights_sum_to_one_and_mirror(method: str) -> None:
    offset = np.linspace(-0.45, 0.45, 13)
    weights = interpolation_weights(method, offset)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("scale", [(2, 3), (4, 1, 5)])
def test_interpolation_is_exact_on_a_ramp(method: str, scale: tuple[int, ...]) -> None:
    module: Any = build_generator(method, {"scale": scale})
    sizes = (9, 8, 7)[: len(scale)]
    lr = sum(np.meshgrid(*(np.arange(n) * (k + 1.0) for k, n in enumerate(sizes)), indexing="ij"))
    fine = [(np.arange(n * s) + 0.5) / s - 0.5 for n, s in zip(sizes, scale, strict=True)]
    expected = sum(np.meshgrid(*(f * (k + 1.0) for k, f in enumerate(fine)), indexing="ij"))
    made = run_padded(module, torch.tensor(lr)[None, None])[0, 0].numpy()
    inside = tuple(slice(2 * s if s > 1 else 0, -2 * s if s > 1 else None) for s in scale)
    np.testing.assert_allclose(made[inside], expected[inside], atol=1e-12)


def test_interpolation_of_blocks_keeps_the_mean_of_linear_images() -> None:
    module: Any = build_generator("linear", {"scale": (4, 2)})
    lr = torch.arange(48.0).reshape(1, 1, 6, 8)
    sr = run_padded(module, lr).reshape(6, 4, 8, 2).mean((1, 3))
    torch.testing.assert_close(sr[1:-1, 1:-1], lr[0, 0, 1:-1, 1:-1], rtol=0, atol=1e-5)


def test_interpolation_does_not_change_its_input() -> None:
    module: Any = build_generator("lanczos", {"scale": (2, 2)})
    x = torch.tensor(smooth((1, 1, 9, 9)))
    before = x.clone()
    module(x)
    assert torch.equal(x, before)


def test_skip_stays_float32_under_autocast() -> None:
    module = generator("espcn", scale=(2, 2))
    x = torch.full((1, 1, 12, 12), 1000.25)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, torch.full_like(y, 1000.25), rtol=0, atol=0.6)  # bf16 detail


def test_trimmed_module_is_a_generator_without_its_padded_border() -> None:
    inner = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.PixelShuffle(2))
    module = Trimmed(inner, scale=(2, 2), halo=(2, 2))
    check_generator(module)
    x = torch.tensor(smooth((1, 1, 12, 10)), dtype=torch.float32)
    torch.testing.assert_close(module(x), inner(x)[..., 4:-4, 4:-4])


def test_every_architecture_is_a_generator() -> None:
    for name in GENERATORS:
        ranged = {"scale_range": ((1, 4), (1, 4))}
        module = build_generator(name, ranged if name == "vdsr" else {"scale": (2, 2)})
        check_generator(module)
        assert isinstance(module, Generator)


@pytest.mark.parametrize(
    ("architecture", "arguments", "text"),
    [
        ("unet", {"scale": (2, 2)}, "unknown architecture 'unet'; use one of nearest, linear"),
        ("espcn", {"scale": (2, 2), "width": 3}, "espcn takes no argument 'width'; it takes scale"),
        ("espcn", {"scale": (2, 2), "chanels": 3}, "no argument 'chanels'; did you mean 'channels'"),
        ("espcn", {}, "espcn needs a 'scale'; give one factor per axis"),
        ("espcn", {"scale": (2,)}, "a scale of 1 numbers has no network"),
        ("espcn", {"scale": (2, 2, 2, 2)}, "a scale of 4 numbers has no network"),
        ("espcn", {"scale": (2, 2), "axes": ("x", "y")}, "axes ('x', 'y') do not fit 2 dims"),
        ("cubic", {"scale": (2.5, 2)}, "interpolation by (2.5, 2) is not by whole factors"),
        ("cubic", {"scale": (10**9, 2)}, "interpolation by (1000000000, 2) is by more than 1000"),
        ("cubic", {"scale": (0, 2)}, "interpolation by (0, 2) is not by whole factors"),
        ("espcn", {"scale": (2, 2), "skip": "spline"}, "unknown interpolation 'spline'; use one of nearest"),
        ("espcn", {"scale": (2.5, 2)}, "ESPCN does not work with scale (2.5, 2)"),
        ("srresnet", {"scale": (0, 2)}, "SRResNet does not work with scale (0, 2)"),
        ("espcn", {"scale": (2, 2), "channels": -3}, "espcn has 'channels' -3; give"),
        ("espcn", {"scale": 2}, "espcn cannot be built"),
    ],
)
def test_impossible_generator_is_refused(architecture: str, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=re.escape(text)):
        build_generator(architecture, arguments)


FACTS = ("scale", "spatial_dims", "in_channels", "axes", "halo", "fixed_values")


def facts(**changes: Any) -> Any:
    module: Any = Strided()
    for key, value in changes.items():
        setattr(module, key, value)
    return module


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Conv2d(1, 1, 3), "Conv2d does not state 'scale', so it is not a generator; wrap it"),
        (
            SimpleNamespace(**{f: getattr(Strided(), f) for f in FACTS}),
            "SimpleNamespace is not a torch module",
        ),
        (facts(scale=(2, 2, 2)), "Strided has 3 numbers in 'scale' for 2 spatial dims; state one per axis"),
        (facts(halo=(2,)), "Strided has 1 numbers in 'halo' for 2 spatial dims"),
        (facts(axes=("y",)), "Strided has 1 numbers in 'axes' for 2 spatial dims"),
        (facts(scale=2), "Strided states scale 2, not one whole number per axis"),
        (facts(scale=(1.5, 2)), "Strided states scale (1.5, 2), not one whole number per axis"),
        (facts(scale=(0, 2)), "Strided states scale (0, 2), not one whole number per axis"),
        (facts(halo=(-1, 2)), "Strided states halo (-1, 2), not one whole number per axis"),
        (facts(axes=("x", "y")), "axes ('x', 'y') do not fit 2 dims"),
    ],
)
def test_module_without_consistent_facts_is_refused(module: Any, text: str) -> None:
    with pytest.raises(ModelError, match=re.escape(text)):
        check_generator(module)
