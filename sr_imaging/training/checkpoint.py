"""The state of a training run in one safetensors file: tensors and one JSON string, no pickle.

The file is private to a run and its version of the package; models to share are written by
`sr_imaging.models.model_file`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from sr_imaging.errors import ConfigError
from sr_imaging.io.atomic import whole_output
from sr_imaging.training.config.run import TrainConfig

__all__ = ["check_new", "load_checkpoint", "save_checkpoint"]

_KEY = "sr_imaging_checkpoint"
_FORMAT = 2


def check_new(paths: Iterable[Path]) -> None:
    """Raise `ConfigError` where a run would replace a file of an earlier one."""
    for path in paths:
        if path.exists():
            raise ConfigError(
                f"{path} exists from an earlier run; pass resume=True to go on, "
                "overwrite=True to start anew, or choose another name"
            )


def save_checkpoint(
    path: Path,
    *,
    step: int,
    config: TrainConfig,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
    state: Mapping[str, Any],
) -> None:
    """Write the state after `step` finished steps; the former file stays until this one is complete.

    All that changes while training is in `modules` and `optimisers`, by name; `state` is plain JSON.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
    for name, optimiser in optimisers.items():
        for number, slots in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{name}.{number}.{key}": value for key, value in slots.items()}
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    text = json.dumps({"format": _FORMAT, "step": step, "config": asdict(config), "state": state})
    with whole_output(path, overwrite=True) as temporary:
        # not save_file, which makes the file readable to its owner alone
        temporary.write_bytes(save(tensors, metadata={_KEY: text}))


def load_checkpoint(
    path: Path,
    *,
    config: TrainConfig,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
) -> tuple[int, dict[str, Any]]:
    """Restore networks and optimisers in place; return the finished steps and the `state` saved with them.

    Raises `ConfigError` if there is no such file, it is damaged, or the settings of the run differ.
    """
    stored, tensors = _read_checkpoint(path)
    _check_settings(stored["config"], json.loads(json.dumps(asdict(config))), path)
    for name, module in modules.items():
        module.load_state_dict(_strip_prefix(tensors, f"module.{name}."))
    for name, optimiser in optimisers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _strip_prefix(tensors, f"optimiser.{name}.").items():
            number, slot = key.split(".", 1)
            state.setdefault(int(number), {})[slot] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    return int(stored["step"]), stored["state"]


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the JSON and the tensors of a checkpoint."""
    if not path.is_file():
        raise ConfigError(f"no checkpoint {path} to resume from; start the run without resume")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ConfigError(f"{path} is not a complete checkpoint ({error}); start the run anew") from error
    stored = json.loads(text) if text is not None else {}
    if stored.get("format") != _FORMAT:
        raise ConfigError(f"{path} is not a checkpoint of this version; start the run anew")
    return stored, tensors


def _strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries whose key starts with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _check_settings(old: Any, new: Any, path: Path, prefix: str = "") -> None:
    """Raise at the first setting that differs; the folders of data and output may change."""
    for key in {**old, **new}:
        if prefix + key in ("output", "data.root", "data.workers"):
            continue
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict) and not prefix:
            _check_settings(before, now, path, f"{key}.")
        elif before != now:
            raise ConfigError(
                f"{prefix}{key} was {before!r} in {path} and is {now!r} now; resume with the same settings"
            )
