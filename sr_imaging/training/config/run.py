"""What a training run is: a small tree of frozen dataclasses, read from strict TOML.

A setting that is unknown, of the wrong type or impossible raises before anything is loaded.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sr_imaging.degradation.settings import DegradationConfig, as_range
from sr_imaging.errors import ConfigError, require

from .data import DataConfig, ModelConfig
from .from_table import build
from .phases import AdversarialConfig, FeatureConfig, LoopConfig, PixelConfig, ScheduleConfig

__all__ = [
    "AdversarialConfig",
    "DataConfig",
    "DegradationConfig",
    "FeatureConfig",
    "LoopConfig",
    "ModelConfig",
    "PixelConfig",
    "ScheduleConfig",
    "TrainConfig",
    "as_range",
    "parse_config",
    "read_config",
]


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run.

    Parameters
    ----------
    name : str
        Name of the model and stem of its files.
    data, model, degradation, pixel, adversarial, perceptual, content, loop
        The parts.
    output : str
        Folder for model files, log and checkpoint, relative to the working folder.
    seed : int
        Everything random follows from it.
    modality, description, licence : str
        For the model card.
    data_sources : tuple of str
        For the model card: what it was trained on, with licences.
    """

    name: str
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    pixel: PixelConfig = field(default_factory=PixelConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    perceptual: FeatureConfig = field(default_factory=FeatureConfig)
    content: FeatureConfig = field(default_factory=FeatureConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    output: str = "runs"
    seed: int = 0
    modality: str = ""
    description: str = ""
    licence: str = ""
    data_sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        plain = self.name and Path(self.name).name == self.name and self.name.isprintable()
        require(bool(plain), f"name {self.name!r} is no plain file name; give for example 'raster-x2'")
        require(0 <= self.seed < 2**63, f"seed {self.seed} is not in 0 to 2^63; give a smaller whole number")
        total = self.pixel.steps + self.adversarial.steps
        batch, parts = self.data.batch, self.loop.accumulate
        require(
            batch % parts == 0,
            f"data.batch {batch} has no {parts} equal parts; give a multiple of loop.accumulate",
        )
        require(total > 0, "pixel.steps and adversarial.steps are both 0; give one of them some steps")
        held_out = bool(self.data.validation) or self.data.held_out > 0
        require(
            held_out or not self.loop.patience,
            f"loop.patience {self.loop.patience} waits for validations and nothing is held out; "
            "set data.held_out or data.validation",
        )
        for key in ("perceptual", "content"):
            require(
                self.adversarial.steps > 0 or not getattr(self, key).weights,
                f"{key}.weights is for the adversarial phase, which has no steps; "
                "set adversarial.steps or leave it out",
            )


def read_config(path: str | os.PathLike[str]) -> TrainConfig:
    """Read a training run from a TOML file.

    Parameters
    ----------
    path : path
        File whose tables and keys are the fields of :class:`TrainConfig`.

    Returns
    -------
    TrainConfig
        Checked.

    Raises
    ------
    ConfigError
        If the file is missing or no TOML, or a setting is unknown, of the wrong type or impossible.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}; correct that line") from error
    return parse_config(table, source=str(path))


def parse_config(table: Mapping[str, Any], *, source: str = "the settings") -> TrainConfig:
    """Build a training run from nested dicts, as TOML gives them.

    Parameters
    ----------
    table : mapping
        Keys are the fields of :class:`TrainConfig`.
    source : str
        Where they come from, for messages.

    Returns
    -------
    TrainConfig
        Checked.

    Raises
    ------
    ConfigError
        If a setting is unknown, missing, of the wrong type or impossible.

    Examples
    --------
    >>> parse_config({"name": "a", "data": {"train": ["*.tif"], "patch": 24}}).data.patch
    24
    """
    config: TrainConfig = build(TrainConfig, table, source=source)
    return config
