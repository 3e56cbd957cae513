"""A generator on its way to where it runs, made ready there once in every process that it reaches.

A lazy array holds the delivery as one node of its graph, on which every block depends: a cluster then
brings the weights to each worker once, and again to the one that takes a lost worker's place. Its device and
its tile are chosen where it arrives, because a laptop that asks a cluster need not have the cluster's GPUs.
"""

import copy
import threading
import weakref
from collections import OrderedDict
from dataclasses import replace
from typing import Any, cast

import torch
from dask.base import tokenize
from dask.delayed import Delayed, delayed
from torch import nn

from sr_imaging.inference.options import EngineSettings
from sr_imaging.networks import Generator

from .cluster import current_client
from .engine import Engine, make_engine

__all__ = ["Delivery", "as_node", "sketch"]

_KEPT = 4  # models that a process keeps ready for blocks to come
_ARRIVED: OrderedDict[str, "Delivery"] = OrderedDict()
_SENT: "weakref.WeakValueDictionary[tuple[str, str], Any]" = weakref.WeakValueDictionary()
_LOCK = threading.Lock()


class Delivery:
    """A generator, with its hash, and what is asked of the engine that runs it, met where that is made."""

    def __init__(self, generator: Generator, sha256: str, settings: EngineSettings) -> None:
        self.generator = generator
        self.sha256 = sha256
        self.settings = settings
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    @property
    def token(self) -> str:
        """Name of this model with these settings."""
        return tokenize(self.sha256, self.settings)

    @property
    def engine(self) -> Engine:
        """The engine in this process, made at its first use; a ConfigError says what is impossible here."""
        with self._lock:
            if self._engine is None:
                self._engine = make_engine(self.generator, self.settings)
            return self._engine

    def __reduce__(self) -> tuple[Any, ...]:
        return _take_delivery, (self.token, _move_to_cpu(self.generator), self.sha256, self.settings)


def sketch(delivery: Delivery) -> Engine:
    """Return an engine of the same generator that states its facts here and runs elsewhere, on the CPU."""
    asked = replace(delivery.settings, device="cpu", precision="float32")
    return Delivery(delivery.generator, delivery.sha256, asked).engine


def as_node(delivery: Delivery) -> Delayed:
    """Return a delivery as one node of a dask graph, already under way where a cluster is connected."""
    client = current_client()
    if client is None:
        return cast(Delayed, delayed(delivery, name=f"sr-model-{delivery.token}", traverse=False))
    node = _SENT.get((client.id, delivery.token))  # two threads that miss it at once send one key
    if node is None:
        node = client.persist(delayed(delivery, name=f"sr-model-{delivery.token}", traverse=False))
        _SENT[client.id, delivery.token] = node
    return cast(Delayed, node)


def _move_to_cpu(generator: Generator) -> Generator:
    """Return the generator, or a copy of it whose weights another machine can hold."""
    module = cast(nn.Module, generator)
    if all(tensor.device == torch.device("cpu") for tensor in module.state_dict().values()):
        return generator
    return cast(Generator, copy.deepcopy(module).cpu())


def _take_delivery(token: str, generator: Generator, sha256: str, settings: EngineSettings) -> Delivery:
    """Return the delivery of this name in this process: the one that came first, which may be ready."""
    with _LOCK:
        known = _ARRIVED.pop(token, None) or Delivery(generator, sha256, settings)
        _ARRIVED[token] = known
        while len(_ARRIVED) > _KEPT:
            _ARRIVED.popitem(last=False)
    return known
