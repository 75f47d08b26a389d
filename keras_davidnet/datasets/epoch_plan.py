"""The images of every epoch: their order, and which are flipped."""

import functools

import numpy as np

from keras_davidnet._array_checks import describe
from keras_davidnet._checks import check_count

# "flip" in ASCII. No epoch has that number, so the flips are independent of
# every order.
_FLIP = 0x666C6970


class EpochPlan:
    """The order of the images in each epoch, and which are flipped.

    Both are functions of `seed` and the number of the epoch.

    Alternating flip: half of the images, drawn once, are flipped left to right
    in the even epochs, the others in the odd ones. Two successive epochs show
    both views of every image.

    A subset leaves images out of every epoch. The others keep their order and
    their flips: two plans of one seed whose subsets differ by one image show
    all other images in the same order.

    Args:
        n: Number of images, those outside of `subset` included.
        batch_size: Number of images per batch. Those left over at the end of an
            epoch are not shown; they differ by epoch.
        seed: A non-negative integer. None draws one from NumPy's global
            generator.
        alternating_flip: Whether to flip images.
        subset: Which images are shown: booleans of shape `(n,)`. None shows
            all.

    Attributes:
        epoch: The epoch that `Batches` draws from, 0 at first. The models of
            this package, `SyncEpoch` and `Resume` set it in `fit`.
        steps_per_epoch: Number of batches.

    Raises:
        ValueError: If there are fewer images than one batch needs, if `seed`
            is negative, or if `subset` is not such an array.

    Example:

    ```python
    plan = EpochPlan(len(x_train), 512, seed=0, alternating_flip=True)
    first_batch = x_train[plan.indices(epoch=3)[0]]
    ```

    References:
        - [Jordan, 2024](https://arxiv.org/abs/2404.00498), section 3.6.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int | None = None,
        alternating_flip: bool = False,
        subset: np.ndarray | None = None,
    ):
        self.n = shown = check_count("n", n, 0)
        self.batch_size = check_count("batch_size", batch_size)
        self.subset = None
        if subset is not None:
            self.subset = _read_only(np.array(subset))
            if self.subset.dtype != bool or self.subset.shape != (self.n,):
                raise ValueError(
                    f"`subset` must be booleans of shape ({self.n},). "
                    f"Received: {describe('subset', self.subset)}"
                )
            shown = int(self.subset.sum())
        self.steps_per_epoch = shown // self.batch_size
        if not self.steps_per_epoch:
            raise ValueError(
                "There must be images for one batch, or an epoch would have no "
                f"step. Received: {shown} images, batch_size={batch_size}"
            )
        self.drawn = seed is None
        if seed is None:
            seed = np.random.randint(2**31)
        self.seed = check_count("seed", seed, 0)
        self.alternating_flip = alternating_flip
        self.epoch = 0

    def indices(self, epoch: int) -> np.ndarray:
        """The numbers of the images, `(steps_per_epoch, batch_size)`."""
        shape = self.steps_per_epoch, self.batch_size
        order = _permutation(self.seed, epoch, self.n)
        if self.subset is not None:
            order = order[self.subset[order]]
        return order[: shape[0] * shape[1]].reshape(shape)

    def flipped(self, epoch: int) -> np.ndarray:
        """Whether each image is flipped: booleans of shape `(n,)`."""
        if not self.alternating_flip:
            return np.zeros(self.n, bool)
        return _flipped(self.seed, epoch, self.n)


# Batches are looked up one by one, and several datasets may alternate.
@functools.lru_cache(maxsize=8)
def _permutation(seed, epoch, n):
    return _read_only(np.random.default_rng((seed, epoch)).permutation(n))


@functools.lru_cache(maxsize=8)
def _flipped(seed, epoch, n):
    drawn = np.random.default_rng((seed, _FLIP)).integers(0, 2, n)
    return _read_only((drawn + epoch) % 2 == 1)


def _read_only(array):
    array.flags.writeable = False
    return array
