"""Methods without weights that undo a known blur: the Wiener filter and iterated back-projection.

Both take the point-spread function of :func:`sr_imaging.degrade`, keep the two laws of a generator (a finite
halo, any unit), and are the references that a trained model has to beat where the blur is known.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from sr_imaging.degradation.psf import BOX, Psf, psf_kernel
from sr_imaging.errors import ModelError
from sr_imaging.image.pixels.kernels import LARGEST, interpolation_weights

from .contract import GeneratorModule
from .interpolation import Interpolation, interleave
from .layers import crop

__all__ = ["BackProjection", "Wiener"]

_USUAL_SIGMA = 0.4  # LR pixels, along y and x; as sr_imaging.degrade has it
_NEGLIGIBLE = 1e-5  # share of a coarse pixel; the ends of a Gaussian would widen the halo for nothing
_REACH = 6  # LR pixels; twice as many change the result by less than 1e-3 dB


class Wiener(GeneratorModule):
    """Interpolation and deconvolution in one step: the best linear estimate of each fine pixel.

    The fine image is taken for a Markov process, the coarse one for its blurred and noisy samples; the
    weights of the nearest 13 coarse pixels then follow from their covariances, axis by axis. They sum to 1.

    Parameters
    ----------
    scale, axes
        As in :class:`~sr_imaging.networks.GeneratorModule`.
    sigma : float, optional
        Standard deviation of the point-spread function in LR pixels, before the area mean; 0 for the area
        mean alone. By default that along z and 0.4 along y and x, as in :func:`sr_imaging.degrade`.
    noise : float
        Variance of the noise of LR over that of the image, >= 0. More is smoother.
    correlation : float
        Of neighbouring LR pixels of the fine image, between 0 and 1.

    Raises
    ------
    ModelError
        If a factor is not whole or beyond 1000, or a number is out of its range.

    References
    ----------
    N. Wiener, "Extrapolation, interpolation, and smoothing of stationary time series", 1949. A. Jain,
    "Fundamentals of digital image processing", 1989, sections 2.9 (the Markov process) and 8.3.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        sigma: float | None = None,
        noise: float = 1e-3,
        correlation: float = 0.9,
        axes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(scale, halo=[_REACH if s > 1 else 0 for s in scale], axes=axes)
        if not noise >= 0:
            raise ModelError(f"a noise of {noise:g} of the image's variance is negative; give 0 or more")
        if not 0 < correlation < 1:
            raise ModelError(f"a correlation of {correlation:g} is not between 0 and 1; give for example 0.9")
        kernels = _make_kernels(self, sigma)
        self._weights = [
            _solve_wiener(kernel, s, noise, correlation).tolist()
            for kernel, s in zip(kernels, self.scale, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``."""
        for k, (scale, weights) in enumerate(zip(self.scale, self._weights, strict=True)):
            if scale > 1:
                x = interleave(x, 2 + k, weights)
        return x


class BackProjection(GeneratorModule):
    """Iterated back-projection: what the estimate, made coarse again, lacks of LR is added to it.

    Each round simulates LR from the estimate, and interpolates the difference as the first estimate was.
    Both steps are linear, so a round is one filter on the coarse grid: with ``U`` the interpolation, ``A``
    the degradation and ``K = A U``, the estimate after n rounds is ``U (1 + (1 - K) + … + (1 - K)^n) lr``.

    Parameters
    ----------
    scale, sigma, axes
        As in :class:`Wiener`.
    iterations : int
        Rounds, >= 0; the halo grows by the reach of ``K`` with each.

    Raises
    ------
    ModelError
        If a factor is not whole or beyond 1000, or a number is out of its range.

    References
    ----------
    M. Irani and S. Peleg, "Improving resolution by image registration", CVGIP 53, 1991, eq. 2, for one
    image, with the kernel of cubic interpolation as ``h_BP``.
    """

    def __init__(
        self,
        scale: Sequence[int],
        *,
        sigma: float | None = None,
        iterations: int = 10,
        axes: Sequence[str] | None = None,
    ) -> None:
        super().__init__(scale, halo=[0] * len(scale), axes=axes)
        if not 0 <= iterations == int(iterations):
            raise ModelError(f"iterations must be a whole number of 0 or more, got {iterations}; 10 is usual")
        self.iterations = int(iterations)
        self.interpolate = Interpolation("cubic", self.scale)
        kernels = _make_kernels(self, sigma)
        rounds = [_weigh_round(kernel, s) for kernel, s in zip(kernels, self.scale, strict=True)]
        self._rounds = [weights.tolist() for weights in rounds]
        self.reach = tuple(len(weights) // 2 for weights in rounds)
        own = self.interpolate.halo or ()
        self.halo = tuple(self.iterations * r + h for r, h in zip(self.reach, own, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Super-resolve ``(B, C, n + 2 * halo)`` to ``(B, C, n * scale)``."""
        missing = total = x
        for _ in range(self.iterations):
            seen = missing
            for k, weights in enumerate(self._rounds):
                seen = interleave(seen, 2 + k, [weights])
            missing = crop(missing, self.reach, self.spatial_dims) - seen
            total = crop(total, self.reach, self.spatial_dims) + missing
        fine: Tensor = self.interpolate(total)
        return fine


def _make_kernels(generator: GeneratorModule, sigma: float | None) -> list[np.ndarray]:
    """Return the weights of the fine pixels that make a coarse one, along each axis."""
    if max(generator.scale) > LARGEST:
        raise ModelError(f"a scale of {generator.scale} is more than {LARGEST}; give a smaller one")
    if sigma is not None and not 0 <= sigma < 10:
        raise ModelError(f"a psf of sigma {sigma:g} LR pixels is not between 0 and 10; 0.4 is usual")
    kernels = []
    for axis, s in zip(generator.axes, generator.scale, strict=True):
        usual = 0.0 if axis == "z" else _USUAL_SIGMA
        width = usual if sigma is None else sigma
        kernels.append(psf_kernel(Psf("gaussian", width) if width > 0 else BOX, s))
    return kernels


def _solve_wiener(kernel: np.ndarray, scale: int, noise: float, correlation: float) -> np.ndarray:
    """Return the ``(scale, 2 * _REACH + 1)`` weights that solve the normal equations, bound to sum to 1."""
    taps, count = np.arange(-_REACH, _REACH + 1), 2 * _REACH + 1
    first = (len(kernel) - scale) // 2  # fine pixels that the kernel sees before those of its coarse pixel
    far = count * scale + 2 * len(kernel)
    fine = correlation ** (np.abs(np.arange(-far, far + 1)) / scale)  # covariance by distance
    mixed = np.convolve(fine, kernel)  # of a coarse pixel and one `u` fine pixels beyond its first

    def covariance(u: np.ndarray) -> np.ndarray:
        return np.asarray(mixed[u + first + far])

    of_coarse = covariance(np.arange(len(kernel)) - first - scale * np.arange(count)[:, None]) @ kernel
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = of_coarse[np.abs(taps[:, None] - taps)] + noise * np.eye(count)
    system[count, count] = 0
    wanted = np.ones((count + 1, scale))
    wanted[:count] = covariance(np.arange(scale) - scale * taps[:, None])
    return np.asarray(np.linalg.solve(system, wanted)[:count].T)


def _weigh_round(kernel: np.ndarray, scale: int) -> np.ndarray:
    """Return the ``(2 * r + 1,)`` weights of LR interpolated and degraded again; 1 if nothing is refined."""
    if scale == 1:
        return np.ones(1)
    weights = interpolation_weights("cubic", (np.arange(scale) + 0.5) / scale - 0.5)
    radius = weights.shape[1] // 2
    reach = radius + -(-len(kernel) // scale)
    found = np.zeros(2 * reach + 1)
    first = (len(kernel) - scale) // 2
    for tap, share in enumerate(kernel):
        pixel, phase = divmod(tap - first, scale)
        found[reach + pixel - radius : reach + pixel + radius + 1] += share * weights[phase]
    used = int(np.abs(np.flatnonzero(np.abs(found) > _NEGLIGIBLE) - reach).max())
    kept = found[reach - used : reach + used + 1]
    return np.asarray(kept / kept.sum())
