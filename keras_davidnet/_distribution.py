"""`tf.distribute`: its replicas, and the strategies that Keras trains under."""

import contextlib
from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    def this_replica() -> tuple[Any, int]:
        """The number of the calling replica, and how many replicas there are.

        A replica sees its part of the batch.
        """
        context = tf.distribute.get_replica_context()
        if context is None:
            return 0, 1
        return context.replica_id_in_sync_group, context.num_replicas_in_sync

    def check_strategy(model: keras.Model) -> None:
        """ValueError if Keras cannot train under the model's strategy."""
        strategy = model.distribute_strategy
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise ValueError(
                "Keras 3 does not train under MultiWorkerMirroredStrategy. Use "
                "MirroredStrategy for the devices of one machine. For several "
                "machines set KERAS_BACKEND=jax and, in each process, call "
                "keras.distribution.initialize() and, in the scope of "
                "keras.distribution.DataParallel(), make the model and fit it. "
                f"Received: strategy={strategy}"
            )

    def scope(model: keras.Model) -> contextlib.AbstractContextManager:
        """That in which variables of the model are made."""
        return model.distribute_strategy.scope()
else:

    def this_replica() -> tuple[Any, int]:
        """A layer sees the whole batch, on however many devices it lies."""
        return 0, 1

    def check_strategy(model: keras.Model) -> None:
        """Every distribution of these backends trains."""

    def scope(model: keras.Model) -> contextlib.AbstractContextManager:
        """That in which variables of the model are made."""
        return contextlib.nullcontext()
