"""Where `fit` of this package's models calls callbacks beyond Keras's."""

import keras


class FitHooks(keras.callbacks.Callback):
    """A callback that an `ImageClassifier` calls at two more places."""

    def on_data(self, x, y, callbacks):
        """Before `fit` begins: its data, and all its callbacks."""

    def restore(self) -> None:
        """When `fit` is done or has failed: gives the model its own back."""
