"""How a net is trained, evaluated and exported: from raw images to classes."""

from collections.abc import Callable
from os import PathLike
from typing import Any

import keras
from keras import ops

from keras_davidnet._distribution import check_strategy
from keras_davidnet.datasets.batches import Batches
from keras_davidnet.datasets.plan import FollowEpoch
from keras_davidnet.validation.arrays import flat_labels
from keras_davidnet.validation.streams import DataCheck


class Classifier(keras.Model):
    """A model with the recipe for its defaults, and a look at its data.

    A subclass is the net itself.  It has `input_shape`, `num_classes`,
    `include_top`, `std` and `label_smoothing`, as `DavidNet` explains them,
    and gives the logits.
    """

    # Whether the loss is the model's own; `compile` decides.
    _own_loss = False

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        loss: str | Callable | None = None,
        *,
        metrics: list | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training; every part not given is the recipe's.

        Args:
            optimizer: By default `recipes.davidnet_optimizer()`, which counts
                on 24 epochs of 97 steps.
            loss: By default cross entropy of the logits against sparse labels
                of shape `(batch,)` or `(batch, 1)`, with the model's
                `label_smoothing` in training.
            metrics: By default accuracy.
            **kwargs: As for `keras.Model.compile`.

        Raises:
            ValueError: If the model has no top and no loss is given, or if it
                has `label_smoothing` and a loss is given, or if it was made
                under `tf.distribute.MultiWorkerMirroredStrategy`, which Keras
                3 can not train under.
        """
        check_strategy(self)
        if loss is None and not self.include_top:
            raise ValueError(
                "A DavidNet without its top has no loss of its own: give one "
                "to compile(), or put a head on the net and compile that. "
                "Received: loss=None, include_top=False"
            )
        if loss is not None and self.label_smoothing:
            raise ValueError(
                "`label_smoothing` belongs to the model's own loss: build the "
                "model without it, or compile without `loss`. "
                f"Received: label_smoothing={self.label_smoothing}, "
                f"loss={loss!r}"
            )
        self._own_loss = loss is None
        super().compile(
            optimizer=optimizer or self.default_optimizer(),
            loss=loss or keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"] if metrics is None else metrics,
            **kwargs,
        )
        # Loading finds the state of built optimizers only.
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self):
        config = super().get_compile_config()
        if self._own_loss:
            config["loss"] = None
        return config

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        **kwargs,
    ):
        """`keras.Model.fit`, after a look at the data.

        Arrays are checked whole, of a `tf.data.Dataset` or a generator the
        type and the first batch; the same for `validation_data`, `evaluate`
        and `predict`.  The order of the data is the same as without.

        Raises:
            ValueError: If images or labels are not what the model takes: of
                another shape or dtype, empty, not finite, already scaled, or
                labels out of range.
            TypeError: If they are no arrays and no stream of batches.
        """
        if isinstance(x, Batches):
            callbacks = [FollowEpoch(x), *keras.tree.flatten(callbacks or [])]
            # They shuffle themselves.
            kwargs["shuffle"] = False
        with DataCheck(self) as check:
            x = check(x, y)
            if validation_data is not None:
                validation_data = check.validation(validation_data)
            return super().fit(
                x,
                y,
                batch_size,
                epochs,
                verbose,
                callbacks,
                validation_split,
                validation_data,
                **kwargs,
            )

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """`keras.Model.evaluate`, after a look at the data, as in `fit`."""
        # From within fit, where all has been checked.
        if kwargs.get("_use_cached_eval_dataset"):
            return super().evaluate(x, y, *args, **kwargs)
        with DataCheck(self) as check:
            return super().evaluate(check(x, y), y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """`keras.Model.predict`, after a look at the images, as in `fit`."""
        with DataCheck(self, labelled=False) as check:
            return super().predict(check(x), *args, **kwargs)

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
            verbose: As for `keras.Model.export`.
            input_signature: By default one input, `images`, uint8, of the
                model's `input_shape` and any batch size.
            **kwargs: As for `keras.Model.export`.
        """
        if self.dtype_policy.name != "float32":
            # 16 bits give other logits, and Keras's ONNX export wants float32.
            net = self.from_config({**self.get_config(), "dtype": "float32"})
            net.set_weights(self.get_weights())
            net.export(filepath, format, verbose, input_signature, **kwargs)
            return
        if input_signature is None:
            shape = (None, *self.input_shape)
            input_signature = [
                keras.InputSpec(dtype="uint8", shape=shape, name="images")
            ]
        super().export(filepath, format, verbose, input_signature, **kwargs)

    # Keras hands a step the data, and on JAX the state before it.

    def train_step(self, *args):
        *state, data = args
        rate = self._learning_rate(*state)
        result = super().train_step(*state, self._prepare(data))
        if rate is not None:
            logs = result[0] if state else result
            logs["learning_rate"] = rate
        return result

    def _learning_rate(self, state=None):
        """The rate of the step to come; None if the optimizer has not one."""
        variables = self.optimizer.variables
        # On JAX the optimizer's variables stand in the state.
        values = zip(variables, state[2], strict=True) if state else ()
        with keras.StatelessScope(values):
            rate = getattr(self.optimizer, "learning_rate", None)
            return None if rate is None else ops.convert_to_tensor(rate)

    def test_step(self, *args):
        *state, data = args
        return super().test_step(*state, self._prepare(data))

    def _prepare(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self._own_loss:
            y = flat_labels(y)
        return x, y, sample_weight

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if self._own_loss:
            y = ops.one_hot(flat_labels(y), self.num_classes, dtype="float32")
            if training:
                smoothing = self.label_smoothing
                y = y * (1 - smoothing) + smoothing / self.num_classes
        return super().compute_loss(x, y, y_pred, sample_weight, training)
