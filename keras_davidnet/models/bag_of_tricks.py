"""Page's net of 2019: DavidNet with a whitening and ghost batch norm."""

from typing import Any

import keras

from keras_davidnet._checks import (
    check_count,
    check_not_negative,
    check_positive,
)
from keras_davidnet.datasets.cifar import CIFAR10_MEAN, CIFAR10_STD
from keras_davidnet.initializers import PyTorchUniform
from keras_davidnet.layers import (
    GhostBatchNormalization,
    GhostBlock,
    WhiteningConv2D,
)
from keras_davidnet.models.whitened import Whitened
from keras_davidnet.optimizers import (
    CoupledSGD,
    ExponentialAverage,
    GroupedOptimizer,
)
from keras_davidnet.schedules import PiecewiseLinear


def bag_of_tricks_optimizer(
    steps_per_epoch: int = 97,
    epochs: float = 10,
    peak: float = 1.0,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    bias_factor: float = 64.0,
) -> ExponentialAverage:
    """Page's optimizer of 2019: Nesterov momentum, fast biases.

    The rate rises from 0 to `peak` over the first fifth of the epochs, falls
    to a tenth of it two epochs before the last ends, and stays there; in less
    than ten epochs it stays for the last fifth of them.  As in the source the
    first step is one step up the slope.  Biases have `bias_factor` times the
    rate, and decay as much less.

    Args:
        steps_per_epoch: Number of batches per epoch; 97 of 512 for CIFAR-10.
        epochs: Number of epochs; a step that is begun is made.
        peak: The highest rate, for the mean loss over a batch.
        momentum: Nesterov momentum, with the rate in the velocity.
        weight_decay: Coupled decay of the kernels.
        bias_factor: How many times the rate of the kernels the biases have.

    Raises:
        ValueError: If an argument is out of its range.
    """
    epochs = check_positive("epochs", epochs)
    peak = check_not_negative("peak", peak)
    weight_decay = check_not_negative("weight_decay", weight_decay)
    bias_factor = check_positive("bias_factor", bias_factor)
    flat = min(2, epochs / 5)

    def sgd(factor, name):
        rate = PiecewiseLinear.from_epochs(
            [0, epochs / 5, epochs - flat],
            [0.0, factor * peak, 0.1 * factor * peak],
            steps_per_epoch,
        )
        return CoupledSGD(
            # The source counts a step before it reads the schedule.
            rate.shifted(-1),
            momentum=momentum,
            nesterov=True,
            weight_decay=weight_decay / factor,
            name=name,
        )

    return ExponentialAverage(
        GroupedOptimizer(
            sgd(1.0, "kernels"),
            {".*/beta": sgd(bias_factor, "biases")},
            name="bag_of_tricks",
        )
    )


@keras.saving.register_keras_serializable("keras_davidnet")
class WhitenedDavidNet(Whitened):
    """Page's bag-of-tricks net: DavidNet behind a whitening.

    A `WhiteningConv2D` of 3x3 patches, a 1x1 `GhostBlock` of `width` filters,
    then three pooled `GhostBlock`s of 2, 4 and 8 times as many, the first and
    the last with a residual branch, then global max pooling, a linear layer
    without bias, and the logits times `logit_scale`.  At width 64 and 10
    classes it has 6,571,609 weights, 729 of them frozen.  Call `adapt`
    before training.

    Input: `(batch, height, width, channels)`, raw images in 0..255, uint8 or
    float; the model normalises them itself.  Any height and width of at least
    8 pixels will do; in training a batch is a multiple of `groups`.  Output:
    `(batch, num_classes)`, the logits; or, without the top, `(batch, height //
    8, width // 8, 8 * width)`.  All defaults are the recipe's.

    Args:
        width: Number of filters of the 1x1 convolution.
        groups: Groups of each `GhostBatchNormalization`.
        alpha: The alpha of each `CELU`.
        **kwargs: Arguments of `keras.Model`: `name`, `dtype`.

    The other arguments are those of `ImageClassifier`.

    Raises:
        ValueError: If an argument is out of its range; when training, if
            `adapt` was never called, or if a batch is known not to be a
            multiple of `groups`.

    Example:

    ```python
    model = WhitenedDavidNet()
    model.adapt(x_train[:10000])
    model.compile()
    model.fit(train_ds, epochs=10, validation_data=test_ds)
    ```

    References:
        - [Page, 2019](
          https://myrtle.ai/learn/how-to-train-your-resnet-8-bag-of-tricks/)
        - [cifar10-fast](https://github.com/davidcpage/cifar10-fast)
    """

    # Three poolings halve height and width to one pixel at least.
    smallest = 8
    adapts_on = 10000

    @staticmethod
    def default_optimizer(steps_per_epoch=97, epochs=10, batch_size=512):
        # The rate is the same for every batch size.
        return bag_of_tricks_optimizer(steps_per_epoch, epochs)

    def __init__(
        self,
        num_classes: int = 10,
        width: int = 64,
        input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
        include_top: bool = True,
        mean: tuple[float, ...] = CIFAR10_MEAN,
        std: tuple[float, ...] = CIFAR10_STD,
        augmentation: str | keras.layers.Layer | None = "crop_flip",
        groups: int = 16,
        alpha: float = 0.3,
        logit_scale: float = 1 / 16,
        label_smoothing: float = 0.2,
        views: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            num_classes,
            input_shape,
            include_top,
            mean,
            std,
            augmentation,
            logit_scale,
            label_smoothing,
            views,
            **kwargs,
        )
        self.width = check_count("width", width)
        self.groups = check_count("groups", groups)
        self.alpha = check_positive("alpha", alpha)
        common = {"trainable": self.trainable, "dtype": self.dtype_policy}
        shared = {"groups": self.groups, "alpha": self.alpha, **common}
        self.whiten = WhiteningConv2D(
            3,
            epsilon=1e-2,
            padding="same",
            negatives=False,
            use_bias=False,
            name="whiten",
            **common,
        )
        self.prep = GhostBlock(
            self.width, kernel_size=1, pool=False, name="prep", **shared
        )
        self.layer1 = GhostBlock(
            2 * self.width, residual=True, name="layer1", **shared
        )
        self.layer2 = GhostBlock(4 * self.width, name="layer2", **shared)
        self.layer3 = GhostBlock(
            8 * self.width, residual=True, name="layer3", **shared
        )
        self.finish(PyTorchUniform())

    @property
    def body(self):
        layers = self.layer1, self.layer2, self.layer3
        return (self.whiten, self.prep, *layers)

    @property
    def batch_multiple(self):
        # Frozen ones are as in inference.
        divides = any(
            isinstance(layer, GhostBatchNormalization) and layer.trainable
            for layer in self._flatten_layers()
        )
        return self.groups if divides else 1

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "width": self.width,
            "groups": self.groups,
            "alpha": self.alpha,
        }
