"""A `fit` that ends within an epoch."""

import keras

from keras_davidnet.schedules import total_steps


class LastEpoch(keras.callbacks.Callback):
    """Ends `fit` within its last epoch.

    Args:
        epochs: Number of epochs, with a fraction; a step that is begun is made.

    Raises:
        ValueError: When `fit` begins, if the number of steps in an epoch is
            not known, or if `steps_per_execution` steps would run past the end.
    """

    def __init__(self, epochs: float):
        super().__init__()
        self.epochs = epochs

    def on_train_begin(self, logs=None):
        steps, at_once = self.params["steps"], self.model.steps_per_execution
        if steps is None:
            raise ValueError(
                "A fraction of an epoch needs the length of a whole one: give "
                f"fit() `steps_per_epoch`. Received: epochs={self.epochs}, "
                "steps_per_epoch=None"
            )
        self.steps = total_steps(self.epochs, steps)
        if self.steps % steps % at_once:
            raise ValueError(
                f"The last epoch has {self.steps % steps} steps, which must be "
                "a multiple of those that run at once. Received: "
                f"epochs={self.epochs}, steps_per_execution={at_once}"
            )

    def on_epoch_begin(self, epoch, logs=None):
        self.done = epoch * self.params["steps"]

    def on_train_batch_end(self, batch, logs=None):
        if self.done + batch + 1 >= self.steps:
            self.model.stop_training = True
