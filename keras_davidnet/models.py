"""DavidNet, a ResNet of nine layers."""

from collections.abc import Callable
from os import PathLike
from typing import Any

import keras
from keras import ops

from keras_davidnet import recipes
from keras_davidnet.augmentation import RandomHorizontalFlip, RandomPadCrop
from keras_davidnet.initializers import PyTorchUniform
from keras_davidnet.layers import ConvBN, ResBlock
from keras_davidnet.replicas import check_strategy
from keras_davidnet.validation.arguments import (
    check_config,
    check_count,
    check_fraction,
    check_image_shape,
    check_not_negative,
    check_numbers,
)
from keras_davidnet.validation.arrays import check_images, flat_labels
from keras_davidnet.validation.streams import DataCheck


@keras.saving.register_keras_serializable("keras_davidnet")
class DavidNet(keras.Model):
    """DavidNet: David Page's ResNet-9, from raw images to logits.

    A `ConvBN` of `width` filters, then three `ResBlock`s of 2, 4 and 8 times
    as many, the first and the last with a residual branch, then global max
    pooling, a linear layer without bias, and the logits times `logit_scale`.
    At width 64 and 10 classes it has 6,573,120 trainable weights.  The layers'
    names are those of the published net: `prep`, `layer1`, `layer2`,
    `layer3`, `pool`, `linear`.

    Input: `(batch, height, width, channels)`, raw images in 0..255, uint8 or
    float; the model normalises them itself.  Any height and width of at least
    8 pixels will do.  Output: `(batch, num_classes)`, the logits; or, without
    the top, `(batch, height // 8, width // 8, 8 * width)`.

    In training, `augmentation` runs inside the compiled step.  `compile()`
    without arguments is the recipe for CIFAR-10: cross entropy on sparse
    labels, accuracy, and `recipes.davidnet_optimizer()`, 24 epochs of 97
    batches of 512.  The logs of `fit` hold the rate of the last step as
    `learning_rate`.

    Args:
        num_classes: Number of classes, at least 2.
        width: Number of filters of the first convolution.
        input_shape: `(height, width, channels)` of the images; height and
            width may be None.
        include_top: Whether the pooling and the linear layer are there; a net
            without them is a backbone and gives the feature map.
        mean: Of the training set, one number a channel, for images in 0..1.
        std: Its standard deviation, likewise.
        augmentation: A layer that sees the normalised images in training;
            `"crop_flip"` for reflect-pad by 4, random crop and horizontal
            flip, None for none.
        dropout: In each `ConvBN`.
        logit_scale: Factor on the logits.
        label_smoothing: Of the model's own loss in training, in `[0, 1)`; the
            loss in evaluation is always the plain cross entropy.
        tta: Test-time augmentation: whether inference averages the logits of
            each image and its mirror image, at twice the cost.
        **kwargs: Of `keras.Model`: `name`, `dtype`.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If `augmentation` is neither a layer nor `"crop_flip"` nor
            None.

    Example:

    ```python
    model = DavidNet()
    model.compile()
    model.fit(train_ds, epochs=24, validation_data=test_ds)
    ```
    """

    def __init__(
        self,
        num_classes: int = 10,
        width: int = 64,
        input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
        include_top: bool = True,
        mean: tuple[float, ...] = recipes.CIFAR10_MEAN,
        std: tuple[float, ...] = recipes.CIFAR10_STD,
        augmentation: str | keras.layers.Layer | None = "crop_flip",
        dropout: float = 0.05,
        logit_scale: float = 0.125,
        label_smoothing: float = 0.0,
        tta: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        width = check_count("width", width)
        self.num_classes = check_count("num_classes", num_classes, 2)
        self.width = width
        self.input_shape = check_image_shape("input_shape", input_shape)
        channels = self.input_shape[2]
        self.mean = tuple(check_numbers("mean", mean))
        self.std = tuple(check_numbers("std", std))
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError(
                "`mean` and `std` must hold one number for each of the "
                f"{channels} channels. Received: mean={mean}, std={std}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"`std` must be positive. Received: std={std}")
        self.dropout = check_fraction("dropout", dropout)
        self.logit_scale = check_not_negative("logit_scale", logit_scale)
        self.label_smoothing = check_fraction(
            "label_smoothing", label_smoothing
        )
        if tta and not include_top:
            raise ValueError(
                "`tta` averages logits, which a net without its top does not "
                "have. Received: tta=True, include_top=False"
            )
        policy = self.dtype_policy
        if augmentation == "crop_flip":
            augmentation = keras.Sequential(
                [
                    keras.Input((None, None, channels)),
                    RandomPadCrop(4, dtype=policy),
                    RandomHorizontalFlip(dtype=policy),
                ],
                name="augmentation",
            )
        if not isinstance(augmentation, keras.layers.Layer | None):
            raise TypeError(
                '`augmentation` must be a Keras layer, "crop_flip" or None. '
                f"Received: augmentation={augmentation!r}"
            )
        self.include_top = include_top
        self.tta = tta
        self._own_loss = False
        # In float32: the 8 bits of a bfloat16 hold the pixels, but not their
        # distance from the mean.
        self.normalization = keras.layers.Rescaling(
            scale=[1 / (255 * s) for s in self.std],
            offset=[-m / s for m, s in zip(self.mean, self.std, strict=True)],
            dtype="float32",
            name="normalization",
        )
        self.augmentation = augmentation
        common = {"trainable": self.trainable, "dtype": policy}
        shared = {"dropout": self.dropout, **common}
        self.prep = ConvBN(width, name="prep", **shared)
        self.layer1 = ResBlock(
            2 * width, residual=True, name="layer1", **shared
        )
        self.layer2 = ResBlock(4 * width, name="layer2", **shared)
        self.layer3 = ResBlock(
            8 * width, residual=True, name="layer3", **shared
        )
        if include_top:
            self.pool = keras.layers.GlobalMaxPooling2D(
                dtype=policy, name="pool"
            )
            self.linear = keras.layers.Dense(
                self.num_classes,
                use_bias=False,
                kernel_initializer=PyTorchUniform(),
                name="linear",
                **common,
            )
        # With its weights there from the start, a model can be summarised,
        # loaded into and backed up before it has seen an image.
        self.build((None, *self.input_shape))

    @property
    def _blocks(self):
        return (self.prep, self.layer1, self.layer2, self.layer3)

    def build(self, input_shape):
        if self.built:
            return
        self.normalization.build(input_shape)
        if self.augmentation is not None:
            # A symbolic call builds any layer, one without `build` included.
            self.augmentation(keras.Input(input_shape[1:]), training=False)
        shape = input_shape
        for layer in self._blocks:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        if self.include_top:
            self.pool.build(shape)
            self.linear.build(self.pool.compute_output_shape(shape))

    def call(self, images, training=False):
        check_images("images", images, self.input_shape[2])
        x = self.normalization(images)
        if training and self.augmentation is not None:
            x = self.augmentation(x, training=True)
        outputs = self._forward(x, training)
        if self.tta and not training:
            mirrored = self._forward(ops.flip(x, axis=2), training)
            outputs = (outputs + mirrored) / 2
        return outputs

    def _forward(self, x, training):
        for layer in self._blocks:
            x = layer(x, training=training)
        if not self.include_top:
            return x
        # Softmax and loss want float32 under any precision.
        logits = ops.cast(self.linear(self.pool(x)), self.variable_dtype)
        return self.logit_scale * logits

    def compute_output_shape(self, input_shape):
        if self.include_top:
            return (input_shape[0], self.num_classes)
        shape = input_shape
        for layer in self._blocks:
            shape = layer.compute_output_shape(shape)
        return shape

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
            optimizer=optimizer or recipes.davidnet_optimizer(),
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

    def fit(self, x=None, y=None, *args, **kwargs):
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
        with DataCheck(self) as check:
            x = check(x, y)
            if kwargs.get("validation_data") is not None:
                kwargs["validation_data"] = check.validation(
                    kwargs["validation_data"]
                )
            return super().fit(x, y, *args, **kwargs)

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

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "width": self.width,
            "input_shape": self.input_shape,
            "include_top": self.include_top,
            "mean": self.mean,
            "std": self.std,
            "augmentation": self.augmentation
            and keras.layers.serialize(self.augmentation),
            "dropout": self.dropout,
            "logit_scale": self.logit_scale,
            "label_smoothing": self.label_smoothing,
            "tta": self.tta,
        }

    @classmethod
    def from_config(cls, config):
        check_config(cls, config)
        layer = config["augmentation"]
        layer = layer and keras.layers.deserialize(layer)
        return super().from_config({**config, "augmentation": layer})
