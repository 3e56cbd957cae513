"""Tiles, chunks and memory change nothing: every way to cut an image gives the image."""

import threading
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
from builders import Strided, generator, raster, run_padded, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sr_imaging import CancelledError, ConfigError, GridError, ModelError, ResourceError, upscale
from sr_imaging.engine import make_engine, tile_shape
from sr_imaging.networks import Generator
from sr_imaging.tiles import Tile, halve, split, window_of

ESPCN = generator("espcn", scale=(2, 3))
PAIR = generator("espcn", scale=(2, 2), in_channels=2)
DEEP = generator("srresnet", scale=(2, 1), blocks=2)
THROUGH = generator("espcn", scale=(4, 1), axes=("z", "plane"), channels=4)
SOLID = generator("espcn", scale=(2, 1, 2), channels=4)


def seam(a: Any, b: Any) -> float:
    """Largest difference in units of the range of `a`."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    return float(np.nanmax(np.abs(a - b)) / (np.nanmax(a) - np.nanmin(a)))


def holes(image: np.ndarray, *, seed: int = 1, share: float = 0.3) -> np.ndarray:
    """Return an image with a wedge of NaN and scattered ones."""
    rng = np.random.default_rng(seed)
    image = image.copy()
    rows, cols = np.indices(image.shape[-2:])
    image[..., cols + 2 * rows < image.shape[-1] * 0.8] = np.nan
    image[rng.random(image.shape) < share] = np.nan
    return image


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_split_covers_every_pixel_once(data: Any) -> None:
    dims = data.draw(st.integers(1, 3))
    draw = [
        data.draw(st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 12))) for _ in range(dims)
    ]
    start, stop, size = [d[0] for d in draw], [d[0] + d[1] for d in draw], [d[2] for d in draw]
    seen = np.zeros(stop, int)
    for tile in split(start, stop, size):
        seen[tuple(map(slice, tile.start, tile.stop))] += 1
        assert all(1 <= n <= s for n, s in zip(tile.shape, size, strict=True))
    inside = tuple(map(slice, start, stop))
    assert (seen[inside] == 1).all()
    assert seen.sum() == seen[inside].sum()


def test_split_makes_tiles_of_nearly_equal_length() -> None:
    lengths = {tile.shape[0] for tile in split((0,), (101,), (10,))}
    assert lengths <= {9, 10}


def test_halves_cover_their_tile() -> None:
    tile = Tile((3, 4), (3 + 7, 4 + 5))
    parts = halve(tile)
    seen = np.zeros((10, 9), int)
    for part in parts:
        seen[tuple(map(slice, part.start, part.stop))] += 1
        assert part.shape != tile.shape
    assert seen.sum() == 35
    assert seen.max() == 1
    assert halve(Tile((0, 0), (1, 1))) == [Tile((0, 0), (1, 1))]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.data())
def test_window_and_what_it_misses_make_up_the_context(n: int, data: Any) -> None:
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    context = data.draw(st.integers(0, 15))
    window = window_of(Tile((start,), (stop,)), (n,), (context,))
    (cut,), ((before, after),) = window.slices, window.missing
    assert 0 <= cut.start < cut.stop <= n
    assert cut.stop - cut.start + before + after == stop - start + 2 * context


@pytest.mark.parametrize("tile", [1, 2, 3, 5, 7, 16, 400, (1, 23), (23, 1), (4, 9)])
@pytest.mark.parametrize("module", [ESPCN, DEEP], ids=["espcn", "srresnet"])
def test_upscale_equals_whole_image_when_tiled(module: Any, tile: Any) -> None:
    lr = smooth((13, 17)).astype(np.float32)
    whole = run_padded(module, torch.tensor(lr)[None, None])[0, 0].numpy()
    assert seam(whole, upscale(lr, module, tile=tile)) < 1e-6


@pytest.mark.parametrize("tile", [1, 3, 4, (2, 5, 3)])
@pytest.mark.parametrize("module", [THROUGH, SOLID], ids=["through", "solid"])
def test_volume_equals_whole_when_tiled(module: Any, tile: Any) -> None:
    lr = smooth((3, 5, 6)).astype(np.float32)
    assert seam(upscale(lr, module, tile=100), upscale(lr, module, tile=tile)) < 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 1), (3, 2), (5, 4)])
def test_image_smaller_than_the_halo_is_replicated(shape: tuple[int, int]) -> None:
    lr = smooth(shape, high=5).astype(np.float32)
    whole = run_padded(DEEP, torch.tensor(lr)[None, None])[0, 0].numpy()
    made = upscale(lr, DEEP, tile=2)
    assert made.shape == (shape[0] * 2, shape[1])
    np.testing.assert_allclose(made, whole, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 0.97])
@pytest.mark.parametrize("tile", [1, 3, 8])
def test_invalid_pixels_are_filled_alike_in_every_tile(share: float, tile: int) -> None:
    lr = holes(smooth((15, 19)).astype(np.float32), share=share)
    assert seam(upscale(lr, ESPCN, tile=99), upscale(lr, ESPCN, tile=tile)) < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9999), st.floats(0.02, 0.98), st.integers(1, 9), st.integers(1, 9))
def test_any_pattern_of_nan_is_tile_independent(seed: int, share: float, rows: int, cols: int) -> None:
    lr = smooth((14, 18), seed=seed).astype(np.float32)
    lr[np.random.default_rng(seed).random(lr.shape) < share] = np.nan
    if not np.isfinite(lr).any():
        return
    whole = upscale(lr, ESPCN, tile=99)
    if np.nanmax(whole) > np.nanmin(whole):
        assert seam(whole, upscale(lr, ESPCN, tile=(rows, cols))) < 2e-6  # few valid pixels, a small range


@pytest.mark.parametrize("tile", [1, 3, 6])
def test_bands_with_different_holes_are_tile_independent(tile: int) -> None:
    lr = smooth((2, 17, 20), high=50).astype(np.float32)
    lr[0, :, 8:] = np.nan  # one band ends where the other goes on, farther than any context
    lr[1, 15:, :3] = np.nan
    whole = upscale(lr, PAIR, tile=99)
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(lr).repeat(2, 1).repeat(2, 2))
    assert seam(whole, upscale(lr, PAIR, tile=tile)) < 1e-6


@pytest.mark.parametrize(
    "chunks", [(4, 5), (1, 1), (13, 17), (12, 16), ((1, 12), (16, 1)), ((6, 1, 6), 17), (2, -1)]
)
@pytest.mark.parametrize("nan", [False, True])
def test_chunked_equals_unchunked(chunks: Any, nan: bool) -> None:
    lr = smooth((13, 17)).astype(np.float32)
    lr = holes(lr) if nan else lr
    lazy = upscale(dask.array.from_array(lr, chunks), ESPCN)
    assert isinstance(lazy, dask.array.Array)
    assert seam(upscale(lr, ESPCN), lazy.compute(scheduler="sync")) < 1e-6


@pytest.mark.parametrize("chunks", [(1, 2, 3), (3, 5, 1), (2, 5, 6), (-1, -1, 4)])
def test_chunked_volume_equals_unchunked(chunks: Any) -> None:
    lr = holes(smooth((5, 6, 7)).astype(np.float32), share=0.1)
    lazy = upscale(dask.array.from_array(lr, chunks), THROUGH)
    assert seam(upscale(lr, THROUGH), lazy.compute(scheduler="sync")) < 1e-6


def test_chunked_bands_equal_unchunked() -> None:
    lr = smooth((2, 13, 17)).astype(np.float32)
    lr[0, :, 6:] = np.nan
    lazy = upscale(dask.array.from_array(lr, (1, 4, 5)), PAIR)
    assert seam(upscale(lr, PAIR), lazy.compute(scheduler="sync")) < 1e-6


def test_empty_chunk_is_no_obstacle() -> None:
    lr = smooth((6, 7)).astype(np.float32)
    lazy = dask.array.from_array(lr, ((0, 3, 0, 3), (7, 0)))
    for model, more in ((ESPCN, {}), ("nearest", {"scale": 2})):
        made = upscale(lazy, model, **more)
        np.testing.assert_allclose(made.compute(), upscale(lr, model, **more), atol=1e-6)


def test_nothing_of_a_dask_array_is_computed() -> None:
    def explode(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    lr: Any = dask.array.zeros((40, 30), chunks=7, dtype=np.float32)
    lr = lr.map_blocks(explode, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    made = upscale(lr, ESPCN)
    assert made.shape == (80, 90)
    da = xr.DataArray(lr, dims=("y", "x"), coords={"y": np.arange(40.0), "x": np.arange(30.0)})
    assert upscale(da, "cubic", spacing=0.4).shape == (100, 75)
    with pytest.raises(AssertionError, match="computed"):
        made[:2].compute()


def test_each_block_is_computed_once() -> None:
    seen: list[int] = []

    def count(block: np.ndarray) -> np.ndarray:
        seen.append(1)
        return block

    lr: Any = dask.array.ones((20, 30), chunks=10, dtype=np.float32)
    lr = lr.map_blocks(count, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    upscale(lr, ESPCN).compute(scheduler="sync")
    assert len(seen) == 6


def test_a_part_asks_for_its_neighbourhood_only() -> None:
    seen: list[tuple[int, ...]] = []

    def note(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        seen.append(tuple(block_info[0]["chunk-location"]))
        return block

    lr: Any = dask.array.ones((60, 60), chunks=10, dtype=np.float32)
    lr = lr.map_blocks(note, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    upscale(lr, ESPCN)[:5, :5].compute(scheduler="sync")
    assert set(seen) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_dask_result_states_its_chunks_type_and_meta() -> None:
    lr = dask.array.ones((3, 20, 30), chunks=(1, 10, 15), dtype=np.int16)
    made = upscale(lr, ESPCN)
    assert made.chunks == ((1, 1, 1), (20, 20), (45, 45))
    assert made.dtype == made._meta.dtype == made.compute().dtype == np.int16
    assert type(made._meta) is np.ndarray
    for place in np.ndindex(made.numblocks):
        block = made.blocks[place]
        assert block.compute(scheduler="sync").shape == block.shape


def test_leading_chunks_are_kept() -> None:
    da = xr.DataArray(
        dask.array.ones((6, 12, 14), chunks=(4, 6, 7), dtype=np.float32), dims=("time", "y", "x")
    )
    assert upscale(da, ESPCN).chunks[0] == (4, 2)


def test_threads_give_the_same_result() -> None:
    lr = smooth((4, 21, 19)).astype(np.float32)
    lazy = upscale(dask.array.from_array(lr, (1, 6, 7)), ESPCN)
    made = lazy.compute(scheduler="threads", num_workers=4)
    np.testing.assert_array_equal(made, lazy.compute(scheduler="sync"))


def test_same_call_gives_the_same_bits() -> None:
    lr = holes(smooth((3, 15, 17)).astype(np.float32))
    np.testing.assert_array_equal(upscale(lr, DEEP), upscale(lr, DEEP))


def test_same_graph_has_the_same_name_and_others_have_others() -> None:
    lr = dask.array.ones((12, 12), chunks=6, dtype=np.float32)
    first, again = upscale(lr, ESPCN), upscale(lr, ESPCN)
    assert first.name == again.name
    linear, cubic = (generator("espcn", scale=(2, 2), skip=skip) for skip in ("linear", "cubic"))
    names = {upscale(lr, m).name for m in (linear, cubic, generator("espcn", seed=5, scale=(2, 2)))}
    names |= {upscale(lr, linear, tile=4).name, upscale(lr, linear, dtype="float64").name}
    assert len(names) == 5


def test_same_data_under_other_dims_has_another_name() -> None:
    lr = dask.array.from_array(smooth((6, 6)).astype(np.float32), chunks=3)
    first = upscale(xr.DataArray(lr, dims=("y", "x")), ESPCN)
    second = upscale(xr.DataArray(lr, dims=("x", "y")), ESPCN)
    assert first.data.name != second.data.name
    a, b = dask.compute(first.data, second.data)
    assert (a.shape, b.shape) == ((12, 18), (18, 12))


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

    monkeypatch.setattr("sr_imaging.engine._bytes_per_pixel", lambda generator: 4)
    monkeypatch.setattr(type(ESPCN), "forward", run)
    assert seam(expected, upscale(lr, ESPCN)) < 1e-6


def test_out_of_memory_on_the_smallest_tile_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr("sr_imaging.engine._bytes_per_pixel", lambda generator: 400)
    monkeypatch.setattr(type(ESPCN), "forward", run)
    with pytest.raises(ResourceError, match=r"a tile of \(.*\) pixels needs too much memory; use a smaller"):
        upscale(LARGE, ESPCN)


def test_other_errors_of_a_generator_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, x: Tensor) -> Tensor:
        raise RuntimeError("something else")

    monkeypatch.setattr("sr_imaging.engine._bytes_per_pixel", lambda generator: 400)
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
        ({"max_memory": "much"}, "max_memory 'much' is no amount of memory; give bytes or '2 GiB'"),
        ({"max_memory": -1}, "max_memory -1 is no amount of memory"),
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
    sizes = [tile_shape(ESPCN, budget=b)[0][0] for b in (10_000, 1_000_000, 100_000_000)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("module", [ESPCN, DEEP, SOLID], ids=["espcn", "srresnet", "solid"])
def test_bf16_stays_near_float32(module: Generator) -> None:
    lr = smooth((6, 9, 8), low=1000, high=1100).astype(np.float32)
    exact, coarse = upscale(lr, module), upscale(lr, module, precision="bf16")
    assert 0 < seam(exact, coarse) < 0.01


def test_engine_is_told_by_name() -> None:
    engine = make_engine(ESPCN, device="cpu", tile=7)
    assert (engine.device, engine.precision, engine.tile) == ("cpu", "float32", (7, 7))


def test_tile_of_invalid_pixels_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = type(ESPCN).forward

    def run(self: Any, x: Tensor) -> Tensor:
        calls.append(1)
        return torch.as_tensor(forward(self, x))

    lr = raster((24, 24)).values
    lr[:, 12:] = np.nan
    monkeypatch.setattr("sr_imaging.engine._bytes_per_pixel", lambda generator: 400)
    monkeypatch.setattr(type(ESPCN), "forward", run)
    upscale(lr, ESPCN, tile=12)
    assert len(calls) == 2
