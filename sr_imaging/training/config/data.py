"""Settings of a training run that say on what: scans and patches, the degradation, the generator."""

from dataclasses import dataclass, field
from typing import Any

from sr_imaging.bounds import bounded, check_settings, one_of, require

__all__ = ["DataConfig", "ModelConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Scans and how patches are drawn from them.

    Scans are files, folders or glob patterns, relative to `root`. PNG and JPEG images are found where they
    are named, by file or pattern, and in folders that hold no other scan.
    """

    train: tuple[str, ...]  # scans of full resolution
    lr: tuple[str, ...] = ()  # coarse scans of the same places: then pairs are not simulated
    guide: tuple[str, ...] = ()  # second images for a guided generator, at least as fine as `train`
    validation: tuple[str, ...] = ()  # scans that are held out; none of them may be in `train`
    validation_lr: tuple[str, ...] = ()
    validation_guide: tuple[str, ...] = ()
    root: str = ""  # `train(..., data_root=)` overrides it
    # fraction of every training scan, at the far end of its first spatial axis, kept for validation
    held_out: float = bounded(0.0, low=0, below=1, remedy="give for example 0.1")
    # side without halo, or one per axis
    patch: int | tuple[int, ...] = bounded(32, low=1, unit="LR pixels", several=True)
    batch: int = bounded(16, low=1, unit="patches")  # of a step
    per_plane: int = bounded(4, low=1, unit="patches")  # drawn from one plane before another is chosen
    # a patch whose standard deviation is below this fraction of its scan's is drawn less, in proportion
    min_detail: float = bounded(0.2, low=0, high=1)
    # 0 divides a patch by the standard deviation of its scan, 1 by its own; between them geometrically
    patch_weight: float = bounded(0.5, low=0, high=1)
    clip: tuple[float, float] | None = None  # values are limited to it, in their unit: metal, padding in CT
    # what a NaN or infinite value means that the file does not declare as nodata: an error, or nodata
    nan: str = one_of("refuse", ("refuse", "nodata"))
    max_shift: float = bounded(0.5, above=0, unit="LR pixels")  # between the contents of a real pair
    own: bool = False  # the model is for these very scans: its card names their spacing, too
    cache_gb: float = bounded(8.0, low=0, unit="gigabytes")  # memory for decoded scans; others are read again
    validation_images: int = bounded(16, low=1, remedy="to validate on nothing hold nothing out")  # at most
    workers: int = bounded(0, low=0, unit="processes")  # that draw patches; 0 draws them in the loop

    def __post_init__(self) -> None:
        check_settings(self, "data", infinite="clip")
        require(bool(self.train), "data.train names no scans; list files, folders or patterns")
        low, high = self.clip or (0.0, 1.0)
        require(low < high, f"data.clip must be a lower and a higher value, got {self.clip}; correct it")
        for key in ("lr", "guide"):
            held_out = bool(getattr(self, f"validation_{key}"))
            require(
                not self.validation or held_out == bool(getattr(self, key)),
                f"data.{key} and data.validation_{key} go together; give both or neither",
            )


@dataclass(frozen=True)
class ModelConfig:
    """The generator."""

    architecture: str = "srresnet"  # key of `sr_imaging.networks.GENERATORS`
    # its keyword arguments, `scale` or `scale_range` among them
    arguments: dict[str, Any] = field(default_factory=lambda: {"scale": (2, 2)})
    start: str = ""  # model file or bundled model whose weights the training starts from

    def __post_init__(self) -> None:
        check_settings(self, "model")
        if "scale_range" in self.arguments:
            return  # a model of any factor in a range, which states it
        scale = self.arguments.get("scale")
        whole = isinstance(scale, list | tuple) and all(isinstance(s, int) and s >= 1 for s in scale)
        require(
            whole and max(scale, default=1) > 1,  # type: ignore[arg-type]
            f"model.arguments.scale must be whole factors above 1, got {scale!r}; give one per axis: [2, 2]",
        )
