"""A device, its memory and other people's modules: what fits, what is refused, what is left alone."""

import threading
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import torch
from helpers.builders import Strided, generator, holes, raster, seam, smooth
from torch import Tensor

from sr_imaging import CancelledError, ConfigError, GridError, ModelError, ResourceError, upscale
from sr_imaging.inference.options import EngineSettings
from sr_imaging.inference.tiling.engine import make_engine
from sr_imaging.networks import Generator

ESPCN = generator("espcn", scale=(2, 3))
DEEP = generator("srresnet", scale=(2, 1), blocks=2)
SOLID = generator("espcn", scale=(2, 1, 2), channels=4)
LARGE = smooth((50, 45)).astype(np.float32)


def test_out_of_memory_halves_the_tile_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = upscale(LARGE, ESPCN)
    forward, calls = type(ESPCN).forward, []

    def run(self: Any, x: Tensor) -> Tensor:
        calls.append(x.numel())
        if x.numel() > 900:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.as_tensor(forward(self, x))

    monkeypatch.setattr(type(ESPCN), "forward", run)
    assert seam(expected, upscale(LARGE, ESPCN, tile=50)) < 1e-6
    assert max(calls) > 900
    assert "out of memory on a tile of (50, 45) pixels" in caplog.text


def test_out_of_memory_of_a_batch_splits_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    lr = smooth((9, 8, 8)).astype(np.float32)
    expected = upscale(lr, ESPCN)
    forward = type(ESPCN).forward

    def run(self: Any, x: Tensor) -> Tensor:
        if x.numel() > 300:  # one image of 16 by 16 with its context fits, two do not
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.as_tensor(forward(self, x))

    monkeypatch.setattr("sr_imaging.inference.tiling.engine._bytes_per_pixel", lambda generator: 4)
    monkeypatch.setattr(type(ESPCN), "forward", run)
    assert seam(expected, upscale(lr, ESPCN)) < 1e-6


def test_out_of_memory_on_the_smallest_tile_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr("sr_imaging.inference.tiling.engine._bytes_per_pixel", lambda generator: 400)
    monkeypatch.setattr(type(ESPCN), "forward", run)
    with pytest.raises(ResourceError, match=r"a tile of \(.*\) pixels needs too much memory; use a smaller"):
        upscale(LARGE, ESPCN)


def test_other_errors_of_a_generator_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        raise RuntimeError("something else")

    monkeypatch.setattr("sr_imaging.inference.tiling.engine._bytes_per_pixel", lambda generator: 400)
    monkeypatch.setattr(type(ESPCN), "forward", run)
    with pytest.raises(RuntimeError, match="something else"):
        upscale(LARGE, ESPCN)


@pytest.mark.parametrize("shape", [(23, 19), (3, 23, 19), (2, 3, 10, 9)])
@pytest.mark.parametrize("chunks", [None, 7])
def test_progress_counts_to_exactly_the_total(shape: tuple[int, ...], chunks: int | None) -> None:
    calls: list[tuple[int, int]] = []
    lr: Any = smooth(shape).astype(np.float32)
    lr = lr if chunks is None else dask.array.from_array(lr, chunks)
    made = upscale(lr, ESPCN, tile=8, progress=lambda done, total: calls.append((done, total)))
    np.asarray(made)
    total = calls[0][1]
    assert calls == [(k + 1, total) for k in range(total)]


def test_progress_reaches_the_total_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    forward = type(ESPCN).forward

    def run(self: Any, x: Tensor) -> Tensor:
        if x.numel() > 900:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.as_tensor(forward(self, x))

    monkeypatch.setattr(type(ESPCN), "forward", run)
    upscale(LARGE, ESPCN, tile=30, progress=lambda done, total: calls.append((done, total)))
    done = [d for d, _ in calls]
    assert done == sorted(done)
    assert calls[-1] == (4, 4)
    assert all(d <= t for d, t in calls)


@pytest.mark.parametrize("lazy", [False, True])
def test_cancelled_work_stops_at_once(lazy: bool) -> None:
    calls: list[int] = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        if done == 2:
            raise CancelledError("stopped by the caller; start again")

    lr: Any = smooth((30, 30)).astype(np.float32)
    before = lr.copy()
    data = dask.array.from_array(lr, 8) if lazy else lr
    with pytest.raises(CancelledError, match="stopped by the caller"):
        np.asarray(upscale(data, ESPCN, tile=5, progress=stop))
    assert max(calls) <= 6  # threads already at work finish their tile
    np.testing.assert_array_equal(lr, before)
    assert not any(thread.name == "sr_imaging" for thread in threading.enumerate())


def test_generator_without_halo_runs_in_blended_windows() -> None:
    module = Strided(2)
    lr = smooth((24, 30)).astype(np.float32)
    whole = upscale(lr, module, tile=64)
    assert whole.shape == (48, 60)
    with torch.no_grad():
        values = torch.tensor((lr - lr.mean()) / lr.std())
        direct = module(torch.nn.functional.pad(values[None, None], (17, 17, 20, 20), mode="replicate"))
    inside = direct[0, 0, 40:-40, 34:-34].numpy() * lr.std() + lr.mean()
    np.testing.assert_allclose(whole[4:-4, 4:-4], inside[4:-4, 4:-4], atol=0.02)
    assert np.abs(upscale(lr, module, tile=12) - whole).max() < 0.05  # blended, not exact


@pytest.mark.parametrize("chunks", [5, (24, 7)])
def test_generator_without_halo_sees_the_whole_dask_array(chunks: Any) -> None:
    module = Strided(2)
    lr = smooth((2, 24, 30)).astype(np.float32)
    lazy = upscale(dask.array.from_array(lr, (1, *np.broadcast_to(chunks, 2).tolist())), module, tile=16)
    np.testing.assert_allclose(lazy.compute(), upscale(lr, module, tile=16), atol=1e-6)


def test_generator_without_halo_restores_nan() -> None:
    lr = holes(smooth((24, 30)).astype(np.float32))
    made = upscale(lr, Strided(2), tile=16)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(lr).repeat(2, 0).repeat(2, 1))


def test_generator_of_fixed_values_sees_them_in_its_unit() -> None:
    class Seen(Strided):
        def __init__(self) -> None:
            super().__init__(2)
            self.halo, self.fixed_values, self.low = (1, 1), (-1000.0, 500.0), torch.zeros(2)

        def forward(self, x: Tensor) -> Tensor:
            assert x.min() >= (100 + 1000) / 500 - 1e-5 or x.abs().max() == 0  # zeros measure the memory
            assert x.max() <= (300 + 1000) / 500 + 1e-5
            return torch.nn.functional.interpolate(x[..., 1:-1, 1:-1], scale_factor=2.0)

    lr = smooth((9, 8), low=100, high=300).astype(np.int16)
    np.testing.assert_array_equal(upscale(lr, Seen(), tile=3), lr.repeat(2, 0).repeat(2, 1))


def test_result_of_the_wrong_shape_is_refused() -> None:
    class Wrong(Strided):
        def __init__(self) -> None:
            super().__init__(2)
            self.halo = (1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.interpolate(x, scale_factor=2.0)

    with pytest.raises(ModelError, match=r"Wrong made \(.*\) of \(.*\) where its scale and halo"):
        upscale(LARGE, Wrong())


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (2, 0, 5)])
def test_empty_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GridError, match=r"has no pixels along 'y'|has no pixels along 'x'"):
        upscale(np.empty(shape, np.float32), ESPCN)


def test_no_images_make_no_images() -> None:
    assert upscale(np.empty((0, 4, 5), np.float32), ESPCN).shape == (0, 8, 15)


def test_engine_leaves_the_callers_module_alone() -> None:
    module = generator("espcn", scale=(2, 2)).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    upscale(LARGE, module)
    assert module.training
    assert all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"device": "abacus"}, "unknown device 'abacus'; use 'auto', 'cpu' or 'cuda'"),
        ({"device": "meta"}, "unknown device 'meta'; use 'auto', 'cpu' or 'cuda'"),
        ({"precision": "float8"}, "unknown precision 'float8'; use 'auto', 'float32' or 'bf16'"),
        ({"tile": 0}, "tile 0 does not fit 2 axes; give one number or 2 of at least 1"),
        ({"tile": (3, 4, 5)}, r"tile \(3, 4, 5\) does not fit 2 axes"),
        ({"tile": 2.5}, "tile 2.5 does not fit 2 axes"),
        ({"tile": "big"}, "tile 'big' does not fit 2 axes"),
        ({"max_memory": "much"}, "max_memory 'much' is not an amount of memory; give bytes or '2 GiB'"),
        ({"max_memory": -1}, "max_memory -1 is not an amount of memory"),
    ],
)
def test_impossible_setting_is_refused(more: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        upscale(LARGE, ESPCN, **more)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_missing_cuda_is_refused() -> None:
    with pytest.raises(ConfigError, match="device 'cuda:0' is not available here; use 'cpu'"):
        upscale(LARGE, ESPCN, device="cuda:0")


def test_tile_of_numpy_numbers_is_a_tile() -> None:
    assert seam(upscale(LARGE, ESPCN), upscale(LARGE, ESPCN, tile=np.int64(9))) < 1e-6  # type: ignore[arg-type]


@pytest.mark.parametrize("memory", [0, 1, 100_000, "1 MiB"])
def test_memory_budget_changes_nothing(memory: Any) -> None:
    assert seam(upscale(LARGE, ESPCN), upscale(LARGE, ESPCN, max_memory=memory)) < 1e-6


def test_larger_budget_gives_larger_tiles() -> None:
    sizes = [
        make_engine(ESPCN, EngineSettings(max_memory=m)).tile[0] for m in (10_000, 1_000_000, 100_000_000)
    ]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("module", [ESPCN, DEEP, SOLID], ids=["espcn", "srresnet", "solid"])
def test_bf16_stays_near_float32(module: Generator) -> None:
    lr = smooth((6, 9, 8), low=1000, high=1100).astype(np.float32)
    exact, coarse = upscale(lr, module), upscale(lr, module, precision="bf16")
    assert 0 < seam(exact, coarse) < 0.01


def test_engine_is_told_by_name() -> None:
    engine = make_engine(ESPCN, EngineSettings(device="cpu", tile=7))
    assert (engine.device, engine.precision, engine.tile) == ("cpu", "float32", (7, 7))


def test_tile_of_invalid_pixels_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = type(ESPCN).forward

    def run(self: Any, x: Tensor) -> Tensor:
        calls.append(1)
        return torch.as_tensor(forward(self, x))

    lr = raster((24, 24)).values
    lr[:, 12:] = np.nan
    monkeypatch.setattr("sr_imaging.inference.tiling.engine._bytes_per_pixel", lambda generator: 400)
    monkeypatch.setattr(type(ESPCN), "forward", run)
    upscale(lr, ESPCN, tile=12)
    assert len(calls) == 2
