"""Generators by name: networks that super-resolve, and the classical methods they are measured against."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from sr_imaging.errors import ModelError
from sr_imaging.networks.generators.attention import Attention
from sr_imaging.networks.generators.espcn import ESPCN
from sr_imaging.networks.generators.guided import Guided
from sr_imaging.networks.generators.latent import with_latent
from sr_imaging.networks.generators.rrdb import RRDB
from sr_imaging.networks.generators.srcnn import SRCNN
from sr_imaging.networks.generators.srresnet import EDSR, SRResNet
from sr_imaging.networks.generators.transposed import Transposed
from sr_imaging.networks.generators.vae import VAE
from sr_imaging.networks.generators.vdsr import VDSR

from .building import build_or_explain, check_arguments, check_name
from .classical import BackProjection, Wiener
from .interpolation import Interpolation

__all__ = ["CLASSICAL", "GENERATORS", "build_generator"]

# methods without weights: any scale may be asked of them, by name
CLASSICAL: dict[str, Callable[..., nn.Module]] = {
    "nearest": partial(Interpolation, "nearest"),
    "linear": partial(Interpolation, "linear"),
    "cubic": partial(Interpolation, "cubic"),
    "lanczos": partial(Interpolation, "lanczos"),
    "fourier": partial(Interpolation, "fourier"),
    "wiener": Wiener,
    "back-projection": BackProjection,
}
GENERATORS: dict[str, Callable[..., nn.Module]] = {
    **CLASSICAL,
    "srcnn": SRCNN,
    "vdsr": VDSR,
    "espcn": ESPCN,
    "srresnet": SRResNet,
    "edsr": EDSR,
    "rrdb": RRDB,
    "attention": Attention,
    "transposed": Transposed,
    "vae": VAE,
    "guided": Guided,
}


def build_generator(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a generator with fresh weights.

    Parameters
    ----------
    architecture : str
        Key of ``GENERATORS``.
    arguments : mapping
        Its keyword arguments, ``scale`` among them, or ``scale_range`` where it takes that. Any learned one
        takes ``latent_channels`` as well: bands of noise that make it give several plausible results.

    Returns
    -------
    nn.Module
        A module that meets :class:`~sr_imaging.networks.Generator`.

    Raises
    ------
    ModelError
        If the architecture or one of the arguments is unknown or impossible.
    """
    check_name("architecture", architecture, GENERATORS)
    make = GENERATORS[architecture]
    known = list(inspect.signature(make).parameters)
    if noisy := "in_channels" in known and "latent_channels" not in known:
        known.append("latent_channels")
    check_arguments(architecture, arguments, known)
    if "scale_range" in known and "scale_range" not in arguments:
        raise ModelError(
            f"{architecture} needs a 'scale_range'; give lowest and highest factor per axis, "
            "e.g. ((1.5, 4), (1.5, 4))"
        )
    if "scale" in known and "scale" not in arguments:
        raise ModelError(f"{architecture} needs a 'scale'; give one factor per axis, e.g. (2, 2)")
    return build_or_explain(architecture, partial(with_latent, make) if noisy else make, arguments)
