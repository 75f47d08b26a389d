"""Default loss, metrics and optimizer of a classifier, and its export."""

import warnings
from collections.abc import Callable
from os import PathLike
from typing import Any

import keras
from keras import ops

from keras_davidnet._array_checks import check_label_shape
from keras_davidnet._distribution import check_strategy
from keras_davidnet.models.annealing import rate_configs
from keras_davidnet.models.averaged_step import averaged_step
from keras_davidnet.models.fitting import FittedModel
from keras_davidnet.models.float32 import in_float32
from keras_davidnet.models.losses import check_takes_logits, one_hot
from keras_davidnet.optimizers.grouped import leaf_optimizers


class Classifier(FittedModel):
    """A model with a default loss, optimizer and learning rate.

    A subclass has `num_classes`, `include_top`, with it the head `linear`, and
    `label_smoothing`, as `ImageClassifier` explains them, and
    `default_optimizer(steps_per_epoch, epochs, batch_size)`; and it gives the
    logits.
    """

    # Whether loss and rates are the model's own; `compile` decides.
    own_loss = False
    _rates = None

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        loss: str | Callable | None = None,
        *,
        metrics: list | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training; every part not given is the net's default.

        Args:
            optimizer: By default that of the net's recipe, whose rate falls to
                zero at the end of the `fit` that follows.  `model.optimizer`
                and `model.loss` stay what they are.
            loss: By default cross entropy of the logits against sparse labels
                of shape `(batch,)` or `(batch, 1)`, with the model's
                `label_smoothing` when training.
            metrics: By default accuracy.
            **kwargs: As for `keras.Model.compile`.

        Raises:
            ValueError: If the model has no top and no loss is given, or if it
                has `label_smoothing` and a loss is given, or if the loss takes
                probabilities, or if the model was made under
                `tf.distribute.MultiWorkerMirroredStrategy`, which Keras 3
                cannot train under.
        """
        check_strategy(self)
        own_rates = optimizer is None or (
            self.own_rates and optimizer is self.optimizer
        )
        if self.own_loss and loss is self.loss:
            loss = None
        if loss is None and not self.include_top:
            raise ValueError(
                f"A {type(self).__name__} without its top has no loss of its "
                "own: give one to compile(), or put a head on the net and "
                "compile that. Received: loss=None, include_top=False"
            )
        if loss is not None and self.label_smoothing:
            raise ValueError(
                "`label_smoothing` belongs to the model's own loss: build the "
                "model without it, or compile without `loss`. "
                f"Received: label_smoothing={self.label_smoothing}, "
                f"loss={loss!r}"
            )
        if self.gives_logits:
            check_takes_logits(loss)
        self.own_loss = loss is None
        super().compile(
            optimizer=optimizer or self.default_optimizer(),
            loss=loss or keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"] if metrics is None else metrics,
            **kwargs,
        )
        self._rates = rate_configs(self.optimizer) if own_rates else None
        self.warned_of_rates = False

    def get_compile_config(self):
        config = super().get_compile_config()
        if self.compiled:
            # An optimizer that was put on the instance is in no file.
            config["own_rates"] = (
                self.own_rates and "default_optimizer" not in vars(self)
            )
            if self.own_loss:
                config["loss"] = None
        return config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        own_rates = config.pop("own_rates", False)
        try:
            self.compile(**config)
        except ValueError as error:
            # Earlier releases took losses that this one refuses.
            warnings.warn(
                f"The model's own loss replaces the saved one. {error}",
                stacklevel=2,
            )
            self.compile(**{**config, "loss": None})
        if own_rates:
            self._rates = rate_configs(self.optimizer)

    @property
    def own_rates(self) -> bool:
        """Whether the rates are those of `compile()` without an optimizer."""
        # The user may have given the optimizer another rate since.
        return self._rates is not None and self._rates == rate_configs(
            self.optimizer
        )

    @property
    def gives_logits(self) -> bool:
        """Whether there is a head and nobody gave it an activation."""
        return (
            self.include_top
            and self.linear.activation is keras.activations.linear
        )

    def keep_rates(self):
        """Takes the optimizer's rates for the model's own."""
        rates = rate_configs(self.optimizer)
        if self._rates != rates:
            self._rates = rates
            # The rate is read when the step is traced.
            self.make_train_function(force=True)

    def save(self, filepath: str | PathLike, *args: Any, **kwargs: Any) -> None:
        """Like `keras.Model.save`, but not to the older HDF5 format.

        Raises:
            ValueError: If `filepath` ends in `.h5` or `.hdf5`: the net that
                Keras loads from there has lost its own loss and rates.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "HDF5 files do not keep the net's own loss and rates: save to "
                "a file in `.keras`, or the weights alone by save_weights() "
                f"to one in `.weights.h5`. Received: filepath={filepath}"
            )
        super().save(filepath, *args, **kwargs)

    def export(
        self,
        filepath: str | PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: list | None = None,
        **kwargs: Any,
    ) -> None:
        """Exports the net for inference, from raw uint8 images to logits.

        The exported net computes in float32: one that was trained in mixed
        precision gives the predictions of the float32 net of its weights.

        Args:
            filepath: Where to; a name in `.tflite` for `"litert"`.
            format: `"tf_saved_model"`, `"litert"`, `"onnx"`, or another that
                `keras.Model.export` knows.
            input_signature: By default one input, `images`, uint8, of the
                model's `input_shape`, any batch size.
            verbose, **kwargs: As for `keras.Model.export`.
        """
        if input_signature is None:
            input_signature = [
                keras.InputSpec(
                    dtype="uint8", shape=self.input_shape, name="images"
                )
            ]
        # 16 bits give other logits, and Keras's ONNX export wants float32.
        with in_float32(self):
            super().export(filepath, format, verbose, input_signature, **kwargs)

    # Keras hands a step the data, and on JAX the state before it.

    def train_step(self, *args):
        *state, data = args
        # On JAX the optimizer's variables stand in the state.
        values = (
            zip(self.optimizer.variables, state[0][2], strict=True)
            if state
            else ()
        )
        with keras.StatelessScope(values):
            rates = self._learning_rates()
        result = averaged_step(
            self, super().train_step, *state, self._prepare(data)
        )
        (result[0] if state else result).update(rates)
        return result

    def _learning_rates(self):
        """The rates of the step to come, under the names that logs have."""
        optimizers = leaf_optimizers(self.optimizer)
        if len(optimizers) == 1:
            names = ["learning_rate"]
        else:
            names = [f"learning_rate_{o.name}" for o in optimizers]
        return {
            name: ops.convert_to_tensor(optimizer.learning_rate)
            for name, optimizer in zip(names, optimizers, strict=True)
        }

    def test_step(self, *args):
        *state, data = args
        return super().test_step(*state, self._prepare(data))

    def _prepare(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_not_named(x)
        if self.own_loss:
            y = _flat_labels(y)
        return x, y, sample_weight

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if self.own_loss:
            y = one_hot(_flat_labels(y), self.num_classes)
            if training:
                smoothing = self.label_smoothing
                y = y * (1 - smoothing) + smoothing / self.num_classes
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def _flat_labels(labels):
    """Sparse labels as int32 of shape `(batch,)`; or raises a ValueError."""
    check_label_shape("y", labels)
    return ops.cast(ops.reshape(labels, (-1,)), "int32")


def check_not_named(images) -> None:
    """Raises a ValueError if a batch names its images and labels."""
    if isinstance(images, dict):
        raise ValueError(
            "A batch must be a pair of images and labels, and not a dict; "
            "tfds.load(..., as_supervised=True) gives pairs. "
            f"Received: a dict with the keys {list(images)}"
        )
