"""The replicas of `tf.distribute`, each of which sees its part of a batch."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def this_replica():
    """The number of the replica that calls, and how many replicas there are.

    0 and 1 where `tf.distribute` is not at work.  On other backends a layer
    sees the whole batch, on however many devices it lies.
    """
    if keras.backend.backend() == "tensorflow":
        context = tf.distribute.get_replica_context()
        if context is not None:
            return (
                context.replica_id_in_sync_group,
                context.num_replicas_in_sync,
            )
    return 0, 1


def check_strategy(model: keras.Model) -> None:
    """Raises a ValueError if Keras can not train under the model's strategy."""
    if keras.backend.backend() != "tensorflow":
        return
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
