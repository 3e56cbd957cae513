"""The device that a network runs on."""

import torch

from sr_imaging.errors import ConfigError

__all__ = ["pick_device"]


def pick_device(device: str) -> str:
    """Return the device to use, for ``auto`` CUDA where there is one; raise `ConfigError` if it is absent."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}; use 'auto', 'cpu' or 'cuda'") from error
    if wanted.type not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device {device!r}; use 'auto', 'cpu' or 'cuda'")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r} is not available here; use 'cpu'")
    return device
