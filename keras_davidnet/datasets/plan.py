"""The images of every epoch: their order, and which are mirrored."""

import functools

import keras
import numpy as np

from keras_davidnet._checks import check_count

# "flip" in ASCII.  No epoch has that number, so the draw of the mirrored images
# is independent of every order.
_FLIP = 0x666C6970


class EpochPlan:
    """The order of the images in each epoch, and which are mirrored.

    Both are functions of `seed` and the number of the epoch: save the two to
    resume.

    Alternating flip (Jordan 2024, https://arxiv.org/abs/2404.00498, section
    3.6): half of the images, drawn once, are mirrored in the even epochs, the
    others in the odd ones.  Any two epochs in a row show both views of every
    image; independent flips show one view twice to half of the images.

    Args:
        n: Number of images.
        batch_size: Images per batch.  Those left over at the end of an epoch
            are not shown; they differ by epoch.
        seed: A non-negative integer; None for one that NumPy's global generator
            draws.
        alternating_flip: Whether to mirror images at all.

    Attributes:
        epoch: The epoch that `Batches` draws from, 0 at first.  `fit` and
            `Resume` set it.

    Raises:
        ValueError: If there are fewer images than one batch needs, or if `seed`
            is negative.

    Example:

    ```python
    plan = EpochPlan(len(x_train), 512, seed=0, alternating_flip=True)
    first_batch = x_train[plan.order(epoch=3)[0]]
    ```
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int | None = None,
        alternating_flip: bool = False,
    ):
        self.n = check_count("n", n)
        self.batch_size = check_count("batch_size", batch_size)
        if n < batch_size:
            raise ValueError(
                "There must be images for one batch, or an epoch would have no "
                f"step. Received: {n} images, batch_size={batch_size}"
            )
        if seed is None:
            seed = np.random.randint(2**31)
        self.seed = check_count("seed", seed, 0)
        self.alternating_flip = alternating_flip
        self.epoch = 0

    def order(self, epoch: int) -> np.ndarray:
        """The numbers of the images, of shape `(steps, batch_size)`."""
        shape = self.n // self.batch_size, self.batch_size
        order = _permutation(self.seed, epoch, self.n)
        return order[: shape[0] * shape[1]].reshape(shape)

    def mirrored(self, epoch: int) -> np.ndarray:
        """Whether each image is mirrored: booleans of shape `(n,)`."""
        if not self.alternating_flip:
            return np.zeros(self.n, bool)
        return _mirrored(self.seed, epoch, self.n)


class FollowEpoch(keras.callbacks.Callback):
    """Has a dataset show the epoch that `fit` is in.

    Args:
        dataset: `Batches` with a plan.
    """

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        # Keras makes the epoch's iterator after this.
        self.dataset.plan.epoch = epoch


# A batch is looked up at a time, and validation or a second dataset may look up
# another in between.
@functools.lru_cache(maxsize=8)
def _permutation(seed, epoch, n):
    return _frozen(np.random.default_rng((seed, epoch)).permutation(n))


@functools.lru_cache(maxsize=8)
def _mirrored(seed, epoch, n):
    drawn = np.random.default_rng((seed, _FLIP)).integers(0, 2, n)
    return _frozen((drawn + epoch) % 2 == 1)


def _frozen(array):
    array.flags.writeable = False
    return array
