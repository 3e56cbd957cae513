"""Settings of a training run that say on what: scans and patches, the degradation, the generator."""

from dataclasses import dataclass, field
from typing import Any

from sr_imaging.errors import require, require_finite

__all__ = ["DataConfig", "ModelConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Scans and how patches are drawn from them.

    Parameters
    ----------
    train : tuple of str
        Files, folders or glob patterns, relative to `root`: scans of full resolution. PNG and JPEG images are
        found where they are named, by file or pattern, and in folders that hold no other scan.
    lr : tuple of str
        The same, of coarse scans of the same places as `train`: then pairs are not simulated. The two lists
        are matched by file name where these agree, otherwise by their order, and aligned by coordinates.
    guide : tuple of str
        The same, of second images that a guided generator sees: at least as fine as `train`.
    validation, validation_lr, validation_guide : tuple of str
        The same, of scans that are held out; none of them may be in `train`.
    root : str
        Folder that the paths start from; ``train(..., data_root=)`` overrides it.
    held_out : float
        Fraction of every training scan, at the far end of its first spatial axis, kept for validation.
    patch : int or tuple of int
        Side of a patch without its halo, in LR pixels, one number or one per axis.
    batch : int
        Patches per step.
    per_plane : int
        Patches drawn from one plane of a scan before another is chosen.
    min_detail : float
        A patch whose standard deviation is below this fraction of its scan's is drawn less, in proportion.
    patch_weight : float
        0 divides a patch by the standard deviation of its scan, 1 by its own; between them geometrically.
    clip : (float, float), optional
        Values of the scans are limited to this range, in their unit: metal and padding in CT.
    nan : str
        What a NaN or infinite value means that the file does not declare as nodata: ``refuse`` raises,
        ``nodata`` leaves it out.
    max_shift : float
        LR pixels by which the contents of a real pair may be displaced against each other.
    own : bool
        The model is for these very scans, so that its card names their spacing beside that of the LR patches.
    cache_gb : float
        Memory for decoded scans; what does not fit is decoded whenever it is drawn from.
    validation_images : int
        Largest number of validation images.
    workers : int
        Processes that draw patches; 0 draws them in the loop.
    """

    train: tuple[str, ...]
    lr: tuple[str, ...] = ()
    guide: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    validation_lr: tuple[str, ...] = ()
    validation_guide: tuple[str, ...] = ()
    root: str = ""
    held_out: float = 0.0
    patch: int | tuple[int, ...] = 32
    batch: int = 16
    per_plane: int = 4
    min_detail: float = 0.2
    patch_weight: float = 0.5
    clip: tuple[float, float] | None = None
    nan: str = "refuse"
    max_shift: float = 0.5
    own: bool = False
    cache_gb: float = 8.0
    validation_images: int = 16
    workers: int = 0

    def __post_init__(self) -> None:
        require_finite(self, "data", but="clip")
        sides = (self.patch,) if isinstance(self.patch, int) else self.patch
        require(bool(self.train), "data.train names no scans; list files, folders or patterns")
        require(min(sides, default=0) > 0, f"data.patch {self.patch} is not positive; give LR pixels >= 1")
        require(self.batch > 0, f"data.batch {self.batch} is not positive; give >= 1 patches")
        require(self.per_plane > 0, f"data.per_plane {self.per_plane} is not positive; give >= 1 patches")
        require(0 <= self.held_out < 1, f"data.held_out {self.held_out} is no fraction; give 0 to below 1")
        require(0 <= self.min_detail <= 1, f"data.min_detail {self.min_detail} is no fraction; give 0 to 1")
        require(
            0 <= self.patch_weight <= 1, f"data.patch_weight {self.patch_weight} is not in 0 to 1; fix it"
        )
        low, high = self.clip or (0.0, 1.0)
        require(low < high, f"data.clip {self.clip} is no range; give the lowest and the highest value")
        require(
            self.validation_images > 0,
            f"data.validation_images {self.validation_images} is not positive; to validate on nothing hold "
            "nothing out",
        )
        require(self.workers >= 0, f"data.workers {self.workers} is negative; give 0 or more processes")
        require(self.nan in ("refuse", "nodata"), f"unknown data.nan {self.nan!r}; use 'refuse' or 'nodata'")
        require(self.max_shift > 0, f"data.max_shift {self.max_shift} is not positive; give LR pixels")
        require(self.cache_gb >= 0, f"data.cache_gb {self.cache_gb} is negative; give 0 or more gigabytes")
        for key in ("lr", "guide"):
            held_out = bool(getattr(self, f"validation_{key}"))
            require(
                not self.validation or held_out == bool(getattr(self, key)),
                f"data.{key} and data.validation_{key} go together; give both or neither",
            )


@dataclass(frozen=True)
class ModelConfig:
    """The generator.

    Parameters
    ----------
    architecture : str
        Key of ``sr_imaging.networks.GENERATORS``.
    arguments : dict
        Its keyword arguments, ``scale`` or ``scale_range`` among them.
    start : str
        Model file or bundled model whose weights the training starts from; none by default.
    """

    architecture: str = "srresnet"
    arguments: dict[str, Any] = field(default_factory=lambda: {"scale": (2, 2)})
    start: str = ""

    def __post_init__(self) -> None:
        require_finite(self, "model")
        if "scale_range" in self.arguments:
            return  # a model of any factor in a range, which states it
        scale = self.arguments.get("scale")
        whole = isinstance(scale, list | tuple) and all(isinstance(s, int) and s >= 1 for s in scale)
        require(
            whole and max(scale, default=1) > 1,  # type: ignore[arg-type]
            f"model.arguments.scale {scale!r} is no list of whole factors above 1; give one per axis: [2, 2]",
        )
