"""Tiles, chunks and memory change nothing: every way to cut an image gives the image."""

from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
from helpers.builders import generator, holes, raster, run_padded, seam, smooth
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_imaging import upscale
from sr_imaging.inference.tiling.tile_arithmetic import Tile, halve, split, window_of

ESPCN = generator("espcn", scale=(2, 3))
PAIR = generator("espcn", scale=(2, 2), in_channels=2)
DEEP = generator("srresnet", scale=(2, 1), blocks=2)
THROUGH = generator("espcn", scale=(4, 1), axes=("z", "plane"), channels=4)
SOLID = generator("espcn", scale=(2, 1, 2), channels=4)


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


@pytest.mark.parametrize("tile", [3, 8, (5, 23)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
@pytest.mark.parametrize("packing", [{}, {"scale_factor": -1e-4, "add_offset": -0.1}])
def test_integers_are_one_count_off_in_few_pixels_at_most_in_other_tiles(
    dtype: str, tile: Any, packing: Any
) -> None:
    high = {"uint8": 255, "int16": 12_000, "uint16": 65_000}[dtype]
    lr = raster((2, 51, 53), dtype=dtype, high=high).assign_attrs(packing)
    apart = abs(upscale(lr, ESPCN, tile=tile).astype(int) - upscale(lr, ESPCN).astype(int))
    # float32 may round a value halfway between two counts to either side
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-4


@pytest.mark.parametrize("dtype", ["int32", "float32", "float64"])
def test_wider_numbers_agree_to_a_hundred_thousandth_of_their_range(dtype: str) -> None:
    lr = raster((2, 19, 23), dtype=dtype, low=-3e6, high=7e6)
    assert seam(upscale(lr, ESPCN).astype(float), upscale(lr, ESPCN, tile=4).astype(float)) < 1e-5
