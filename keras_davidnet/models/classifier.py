"""How an image classifier is compiled, fitted and exported."""

from collections.abc import Callable
from os import PathLike
from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import (
    as_array,
    check_images,
    check_label_shape,
    check_labels,
    check_raw,
)
from keras_davidnet._distribution import check_strategy
from keras_davidnet.datasets import Batches
from keras_davidnet.datasets.plan import FollowEpoch
from keras_davidnet.models.annealing import Annealing, rate_configs
from keras_davidnet.optimizers.grouped import members


class Classifier(keras.Model):
    """A model with a loss, an optimizer and a rate of its own.

    A subclass has `image_shape`, `smallest`, `num_classes`, `include_top`,
    `std` and `label_smoothing`, as `ImageClassifier` explains them, and
    `default_optimizer(steps_per_epoch, epochs, batch_size)`; and it gives the
    logits.
    """

    # Whether loss and rates are the model's own; `compile` decides.
    _own_loss = False
    _rates = None
    _fitting = False

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
                zero at the end of the `fit` that follows.
            loss: By default cross entropy of the logits against sparse labels
                of shape `(batch,)` or `(batch, 1)`, with the model's
                `label_smoothing` when training.
            metrics: By default accuracy.
            **kwargs: As for `keras.Model.compile`.

        Raises:
            ValueError: If the model has no top and no loss is given, or if it
                has `label_smoothing` and a loss is given, or if it was made
                under `tf.distribute.MultiWorkerMirroredStrategy`, which Keras
                3 cannot train under.
        """
        check_strategy(self)
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
        self._own_loss = loss is None
        super().compile(
            optimizer=optimizer or self.default_optimizer(),
            loss=loss or keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"] if metrics is None else metrics,
            **kwargs,
        )
        self._rates = None if optimizer else rate_configs(self.optimizer)
        self.warned_of_rates = False
        # Loading finds the state of built optimizers only.
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self):
        config = super().get_compile_config()
        if self.compiled:
            config["own_rates"] = self.own_rates
            if self._own_loss:
                config["loss"] = None
        return config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        own_rates = config.pop("own_rates", False)
        self.compile(**config)
        if own_rates:
            self._rates = rate_configs(self.optimizer)

    @property
    def own_rates(self) -> bool:
        """Whether the rates are those of `compile()` without an optimizer."""
        # The user may have given the optimizer another rate since.
        return self._rates is not None and self._rates == rate_configs(
            self.optimizer
        )

    def keep_rates(self):
        """Takes the optimizer's rates for the model's own."""
        rates = rate_configs(self.optimizer)
        if self._rates != rates:
            self._rates = rates
            # The rate is read when the step is traced.
            self.make_train_function(force=True)

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
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        **kwargs,
    ):
        """`keras.Model.fit`; it checks arrays and sets the default rate first.

        Arrays and those of `validation_data` are checked whole, of streams the
        types only.  The rate of a default `compile()` is made to reach zero at
        the last step.  Batches of `datasets.make_dataset` are those of the
        epoch that `fit` is in.

        Raises:
            ValueError: If images or labels are not what the model takes: of
                another shape or dtype, empty, not finite, already scaled, or
                labels out of range; or if the rate is to end with the data and
                their length is not known.
            TypeError: If labels are not an array.
        """
        if validation_data is not None:
            data = keras.utils.unpack_x_y_sample_weight(validation_data)
            names = "validation_data[0]", "validation_data[1]"
            self._check_arrays(*names, *data[:2])
        self._check_arrays("x", "y", x, y)
        batch_size_seen = getattr(x, "batch_size", None)
        if hasattr(x, "shape"):
            batch_size_seen = batch_size or 32
        ours = [Annealing(batch_size_seen)]
        if isinstance(x, Batches) and x.plan is not None:
            if steps_per_epoch not in (None, len(x)):
                raise ValueError(
                    "An epoch of `x` has its own number of batches, "
                    f"{len(x)}. Received: steps_per_epoch={steps_per_epoch}"
                )
            ours.append(FollowEpoch(x))
            shuffle = False
        self._fitting = True
        try:
            return super().fit(
                _unmoved(x),
                y,
                batch_size,
                epochs,
                verbose,
                keras.tree.flatten([ours, callbacks or []]),
                validation_split,
                _unmoved(validation_data),
                shuffle,
                class_weight,
                sample_weight,
                initial_epoch,
                steps_per_epoch,
                **kwargs,
            )
        finally:
            self._fitting = False

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """`keras.Model.evaluate`; it checks arrays first, as `fit` does."""
        if not self._fitting:
            self._check_arrays("x", "y", x, y)
        return super().evaluate(_unmoved(x), y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """`keras.Model.predict`; it leaves the plan of batches as it is."""
        return super().predict(_unmoved(x), *args, **kwargs)

    def _check_arrays(self, x_name, y_name, x, y):
        """Raises an error unless the model can be trained on these arrays.

        Streams say what they hold when the step is traced.
        """
        if isinstance(x, Batches):
            # What a function makes of the arrays shows in a batch.
            x, y = x[0] if x.functions else (x.images, x.labels)
        if not (hasattr(x, "shape") and hasattr(x, "dtype")):
            return
        x = as_array(x_name, x)
        check_images(x_name, x, self.image_shape[2], self.smallest)
        # Pixels in 0..1 deviate by less than one from their mean.
        if 255 * min(self.std) > 1.01:
            check_raw(x_name, x)
        loss = self.loss
        sparse = isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
        # The class to ignore may be any number.
        if self._own_loss or (sparse and loss.ignore_class is None):
            if y is not None:
                y = as_array(y_name, y)
            check_labels(y_name, y, x, self.num_classes)

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
                model's `input_shape`, any batch size.
            **kwargs: As for `keras.Model.export`.
        """
        if self.dtype_policy.name != "float32":
            # 16 bits give other logits, and Keras's ONNX export wants float32.
            net = self.from_config({**self.get_config(), "dtype": "float32"})
            net.set_weights(self.get_weights())
            net.export(filepath, format, verbose, input_signature, **kwargs)
            return
        if input_signature is None:
            input_signature = [
                keras.InputSpec(
                    dtype="uint8", shape=self.input_shape, name="images"
                )
            ]
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
        result = super().train_step(*state, self._prepare(data))
        (result[0] if state else result).update(rates)
        return result

    def _learning_rates(self):
        """The rates of the step to come, under the names that logs have."""
        optimizers = members(self.optimizer)
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
        if self._own_loss:
            y = _flat_labels(y)
        return x, y, sample_weight

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if self._own_loss:
            y = ops.one_hot(_flat_labels(y), self.num_classes, dtype="float32")
            if training:
                smoothing = self.label_smoothing
                y = y * (1 - smoothing) + smoothing / self.num_classes
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def _unmoved(data):
    """The data; of batches, those that do not move their plan when drawn."""
    return data.feed() if isinstance(data, Batches) else data


def _flat_labels(labels):
    """Sparse labels as int32 of shape `(batch,)`; or raises a ValueError."""
    check_label_shape("y", labels)
    return ops.cast(ops.reshape(labels, (-1,)), "int32")
