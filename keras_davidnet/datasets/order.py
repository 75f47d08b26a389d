"""The order in which an epoch sees the images."""

import numpy as np


class EpochOrder:
    """Batches of indices, in a random order of its own for each epoch.

    The order depends on `seed` and `epoch` alone: who keeps the two can go on
    where another program stopped.

    Args:
        n: Number of indices.
        batch_size: Indices a batch; those left over differ by epoch.
        seed: A non-negative integer; None for one that NumPy draws.
    """

    def __init__(self, n: int, batch_size: int, seed: int | None = None):
        self.n = n
        self.shape = (n // batch_size, batch_size)
        self.seed = int(np.random.randint(2**31)) if seed is None else seed
        self.epoch = 0

    def __call__(self) -> np.ndarray:
        """The order of the next epoch, of shape `(steps, batch_size)`."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(
            self.n
        )
        self.epoch += 1
        return order[: np.prod(self.shape)].reshape(self.shape)
