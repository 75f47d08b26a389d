"""Where `fit` of this package's models calls callbacks beyond Keras's."""

import keras


class FitHooks(keras.callbacks.Callback):
    """A callback that an `ImageClassifier` calls at two more places."""

    @property
    def epochs(self) -> float:
        """The number of epochs of `fit`, of which the last may be a part."""
        return self.params.get("exact_epochs", self.params["epochs"])

    def on_data(self, x, y, callbacks):
        """Called before `fit` begins, with its data and all its callbacks."""

    def restore(self) -> None:
        """Called when `fit` ends or fails: undoes changes to the model."""
