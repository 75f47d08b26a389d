"""Page's net of 2019: DavidNet with a whitening and ghost batch norm."""

from typing import Any

import keras

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.layers import GhostBlock, WhiteningConv2D
from keras_davidnet.models.image_classifier import ImageClassifier
from keras_davidnet.optimizers import bag_of_tricks_optimizer


@keras.saving.register_keras_serializable("keras_davidnet")
class WhitenedDavidNet(ImageClassifier):
    """Page's bag-of-tricks net: DavidNet behind a whitening.

    A `WhiteningConv2D` of 3x3 patches, a 1x1 `GhostBlock` of `width` filters,
    then three pooled `GhostBlock`s of 2, 4 and 8 times as many, the first and
    the last with a residual branch, then global max pooling, a linear layer
    without bias, and the logits times `logit_scale`.  At width 64 and 10
    classes it has 6,571,609 weights, 729 of them frozen.  Call `adapt`
    before training.

    All defaults are those of the recipe `bag_of_tricks`.

    Args:
        num_classes: Number of classes.
        width: Number of filters of the 1x1 convolution.
        groups: Groups of each `GhostBatchNormalization`.
        alpha: The alpha of each `CELU`.
        **kwargs: Arguments of `ImageClassifier`; here `logit_scale` is 1 / 16
            and `label_smoothing` 0.2.

    Input shape:
        `(batch, height, width, channels)`, raw images in 0..255, uint8 or
        float, at least 8 pixels high and wide; in training the batch is a
        multiple of `groups`.

    Output shape:
        `(batch, num_classes)`; without the top `(batch, height // 8, width //
        8, 8 * width)`.

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
    min_size = 8
    num_adapt_images = 10000
    default_optimizer = staticmethod(bag_of_tricks_optimizer)

    def __init__(
        self,
        num_classes: int = 10,
        width: int = 64,
        *,
        groups: int = 16,
        alpha: float = 0.3,
        **kwargs: Any,
    ):
        defaults = {"logit_scale": 1 / 16, "label_smoothing": 0.2}
        super().__init__(num_classes, **{**defaults, **kwargs})
        self.width = check_count("width", width)
        self.groups = check_count("groups", groups)
        self.alpha = check_number("alpha", alpha, gt=0)
        shared = {
            "groups": self.groups,
            "alpha": self.alpha,
            "dtype": self.dtype_policy,
        }
        self.whiten = WhiteningConv2D(
            3,
            epsilon=1e-2,
            padding="same",
            negatives=False,
            use_bias=False,
            name="whiten",
            dtype=self.dtype_policy,
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
        self.body = [
            self.whiten,
            self.prep,
            self.layer1,
            self.layer2,
            self.layer3,
        ]

    @property
    def batch_multiple(self):
        # Frozen ones are as in inference.
        blocks = self.prep, self.layer1, self.layer2, self.layer3
        divides = any(block.bn1.trainable for block in blocks)
        return self.groups if divides else 1

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "width": self.width,
            "groups": self.groups,
            "alpha": self.alpha,
        }
