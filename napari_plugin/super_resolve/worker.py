"""One run in a thread of its own: it can be watched, and stopped within one tile."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari_plugin.layers import restore_names, to_array
from napari_plugin.super_resolve.plan import Plan
from napari_plugin.super_resolve.preload import preload_torch
from sr_imaging import CancelledError, SrImagingError

if TYPE_CHECKING:
    import xarray as xr
    from napari.layers import Image

__all__ = ["Outcome", "Run"]


@dataclass(frozen=True)
class Outcome:
    """The result of a run, or the error that it ended with; neither where it was cancelled."""

    array: "xr.DataArray | None" = None
    error: SrImagingError | None = None


class Run:
    """Super-resolution of one layer in a thread of its own; later changes to the layer do not matter.

    All three functions are called in the main thread: `on_outcome` with an :class:`Outcome` unless the run
    was cancelled, `on_error` with an exception that nobody foresaw (napari shows it as well), and
    `on_finished` at the end, whatever happened.
    """

    def __init__(
        self,
        layer: "Image",
        plan: Plan,
        *,
        on_outcome: Callable[[Outcome], None],
        on_error: Callable[[Exception], None],
        on_finished: Callable[[], None],
    ) -> None:
        from napari.qt.threading import create_worker

        self.plan = plan
        self.done, self.total = 0, 0
        self.started, self.first_tile = monotonic(), 0.0
        unit = plan.settings.card.spacing_unit if plan.settings.card is not None else ""
        self._array = to_array(layer, plan.image, unit)
        self._worker: Any = create_worker(
            self._super_resolve,
            _start_thread=False,
            _ignore_errors=True,  # on_error and napari's notification show them
            _progress={"desc": f"super-resolving {layer.name}"},
            _connect={"returned": on_outcome, "errored": on_error, "finished": on_finished},
        )

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def cancel(self) -> None:
        """Stop after the tile that is under way."""
        self._worker.quit()

    @property
    def is_cancelled(self) -> bool:
        """Whether it was asked to stop."""
        return bool(self._worker.abort_requested)

    def seconds_left(self) -> float | None:
        """Return an estimate of the time left in seconds; None before the second tile."""
        if self.done < 2 or not self.first_tile:
            return None
        each = (monotonic() - self.first_tile) / (self.done - 1)
        return each * (self.total - self.done)

    def show_progress(self) -> None:
        """Bring the bar in napari's activity dock up to date; for the main thread."""
        bar = self._worker.pbar
        if self.total and bar.total != self.total:
            bar.total = self.total
        if self.done > bar.n:
            bar.update(self.done - bar.n)

    def _super_resolve(self) -> Outcome:
        """Run in the thread."""
        preload_torch()
        from sr_imaging import upscale

        plan = self.plan
        try:
            array = _chunk_if_lazy(self._array, plan)
            result = upscale(
                array, plan.settings.model, progress=self._count_tile, **plan.settings.arguments(plan.image)
            )
            if plan.image.colours and result.dtype.kind == "f":
                result = result.clip(0, 1, keep_attrs=True)  # napari draws colours between these
            return Outcome(restore_names(result if plan.settings.is_lazy else result.compute(), plan.image))
        except CancelledError:
            return Outcome()
        except SrImagingError as error:
            return Outcome(error=error)

    def _count_tile(self, done: int, total: int) -> None:
        """Note how far the run is, and end it if it was cancelled; called in its thread, or in dask's."""
        if self.is_cancelled and not self.plan.settings.is_lazy:
            raise CancelledError("cancelled in napari; run again to start anew")
        self.first_tile = self.first_tile or monotonic()
        self.done, self.total = done, total


def _chunk_if_lazy(array: "xr.DataArray", plan: Plan) -> "xr.DataArray":
    """Return an array in memory cut into blocks where the result is to be lazy."""
    return array.chunk("auto") if plan.settings.is_lazy and array.chunks is None else array
