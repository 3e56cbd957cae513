"""The dask cluster that work is spread over: the one a caller has, or one started or joined for a run."""

import sys
from typing import TYPE_CHECKING

from dask.base import get_scheduler

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["current_client"]


def current_client() -> "Client | None":
    """Return the client of the cluster that would compute a dask array now, or None where none would."""
    distributed = sys.modules.get("distributed")
    owner = getattr(get_scheduler(), "__self__", None)
    return owner if distributed is not None and isinstance(owner, distributed.Client) else None
