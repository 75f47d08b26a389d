"""DavidNet, a ResNet of nine layers."""

from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import (
    check_config,
    check_count,
    check_fraction,
    check_image_shape,
    check_not_negative,
    check_numbers,
    check_warmup,
)
from keras_davidnet.datasets.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from keras_davidnet.initializers import PyTorchUniform
from keras_davidnet.layers import ConvBN, ResBlock
from keras_davidnet.layers.augmentation import (
    RandomHorizontalFlip,
    RandomPadCrop,
)
from keras_davidnet.models.image_classifier import Classifier
from keras_davidnet.optimizers import PyTorchSGD
from keras_davidnet.schedules import PiecewiseLinear
from keras_davidnet.validation.arrays import check_images


def davidnet_optimizer(
    steps_per_epoch: int = 97,
    epochs: int = 24,
    peak: float = 0.4,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    warmup: float | None = None,
) -> PyTorchSGD:
    """DavidNet's optimizer: Nesterov momentum under a triangular rate.

    The rate rises from 0 to `peak` over the first fifth of the epochs and falls
    to 0 at the end of the last; it changes at every step.

    Args:
        steps_per_epoch: Batches an epoch; 97 of 512 for CIFAR-10.
        epochs: Length of the training.
        peak: The highest rate, for the mean loss over a batch.
        momentum: Nesterov momentum.
        weight_decay: Coupled decay of all weights.
        warmup: Fraction of the training in which the rate rises, in (0, 1); by
            default `(epochs + 1) // 5` epochs.

    Raises:
        ValueError: If an argument is out of its range.
    """
    epochs = check_count("epochs", epochs)
    peak = check_not_negative("peak", peak)
    if warmup is None:
        # Fewer than four epochs have no whole one to warm up in.
        peak_epoch = (epochs + 1) // 5 or epochs / 5
    else:
        peak_epoch = check_warmup("warmup", warmup) * epochs
    rate = PiecewiseLinear.from_epochs(
        [0, peak_epoch, epochs], [0.0, peak, 0.0], steps_per_epoch
    )
    return PyTorchSGD(
        rate, momentum=momentum, nesterov=True, weight_decay=weight_decay
    )


@keras.saving.register_keras_serializable("keras_davidnet")
class DavidNet(Classifier):
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

    default_optimizer = staticmethod(davidnet_optimizer)

    def __init__(
        self,
        num_classes: int = 10,
        width: int = 64,
        input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
        include_top: bool = True,
        mean: tuple[float, ...] = CIFAR10_MEAN,
        std: tuple[float, ...] = CIFAR10_STD,
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
