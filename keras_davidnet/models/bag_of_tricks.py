"""Page's net of 2019: DavidNet with a whitening and ghost batch norm."""

from typing import Any

import keras

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.datasets.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from keras_davidnet.initializers import PyTorchUniform
from keras_davidnet.layers import (
    GhostBatchNormalization,
    GhostBlock,
    WhiteningConv2D,
)
from keras_davidnet.models.whitened import Whitened
from keras_davidnet.optimizers import bag_of_tricks_optimizer


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
    num_adapt_images = 10000
    default_optimizer = staticmethod(bag_of_tricks_optimizer)

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
        self.alpha = check_number("alpha", alpha, gt=0)
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
