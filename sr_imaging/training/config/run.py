"""What a training run is: a small tree of frozen dataclasses, read from strict TOML.

A setting that is unknown, of the wrong type or impossible raises before anything is loaded.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sr_imaging.bounds import bounded, check_settings, require
from sr_imaging.degradation.settings import DegradationConfig
from sr_imaging.errors import ConfigError

from .data import DataConfig, ModelConfig
from .from_table import build
from .phases import AdversarialConfig, FeatureConfig, LoopConfig, PixelConfig

__all__ = ["TrainConfig", "parse_config", "read_config"]


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run; the last four describe it on the card of its model."""

    name: str  # of the model, and stem of its files
    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    pixel: PixelConfig = field(default_factory=PixelConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    perceptual: FeatureConfig = field(default_factory=FeatureConfig)
    content: FeatureConfig = field(default_factory=FeatureConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    output: str = "runs"  # folder for model files, log and checkpoint, relative to the working folder
    seed: int = bounded(0, low=0, below=2**63)  # everything random follows from it
    modality: str = ""
    description: str = ""
    licence: str = ""
    data_sources: tuple[str, ...] = ()  # what it was trained on, with licences

    def __post_init__(self) -> None:
        check_settings(self)
        plain = self.name and Path(self.name).name == self.name and self.name.isprintable()
        require(bool(plain), f"name {self.name!r} must be a plain file name; give for example 'raster-x2'")
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
    """Return the training run of a TOML file; raise `ConfigError` where it or a setting is wrong."""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; correct that line") from error
    return parse_config(table, source=str(path))


def parse_config(table: Mapping[str, Any], *, source: str = "the settings") -> TrainConfig:
    """Return a training run from nested dicts, as TOML gives them; raise `ConfigError` if a setting is wrong.

    >>> parse_config({"name": "a", "data": {"train": ["*.tif"], "patch": 24}}).data.patch
    24
    """
    config: TrainConfig = build(TrainConfig, table, source=source)
    return config
