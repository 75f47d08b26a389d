"""DavidNet, a ResNet of nine layers."""

from typing import Any

import keras

from keras_davidnet._checks import check_count, check_number
from keras_davidnet.datasets.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from keras_davidnet.initializers import PyTorchUniform
from keras_davidnet.layers import ConvBN, ResBlock
from keras_davidnet.models.image_classifier import ImageClassifier
from keras_davidnet.optimizers import davidnet_optimizer


@keras.saving.register_keras_serializable("keras_davidnet")
class DavidNet(ImageClassifier):
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
    labels, accuracy, and `optimizers.davidnet_optimizer()`, 24 epochs of 97
    batches of 512.  The logs of `fit` hold the rate of the last step as
    `learning_rate`.

    Args:
        width: Number of filters of the first convolution.
        dropout: Rate of the dropout in each `ConvBN`.
        tta: `True` is the old name of `views="mirror"`.
        **kwargs: Arguments of `keras.Model`: `name`, `dtype`.

    The other arguments are those of `ImageClassifier`.

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

    # Three poolings halve height and width to one pixel at least.
    smallest = 8
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
            views or ("mirror" if tta else None),
            **kwargs,
        )
        self.width = check_count("width", width)
        self.dropout = check_number("dropout", dropout, ge=0, lt=1)
        shared = {
            "dropout": self.dropout,
            "trainable": self.trainable,
            "dtype": self.dtype_policy,
        }
        self.prep = ConvBN(self.width, name="prep", **shared)
        self.layer1 = ResBlock(
            2 * self.width, residual=True, name="layer1", **shared
        )
        self.layer2 = ResBlock(4 * self.width, name="layer2", **shared)
        self.layer3 = ResBlock(
            8 * self.width, residual=True, name="layer3", **shared
        )
        self.finish(PyTorchUniform())

    @property
    def body(self):
        return (self.prep, self.layer1, self.layer2, self.layer3)

    @property
    def tta(self) -> bool:
        return self.views is not None

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "width": self.width,
            "dropout": self.dropout,
        }
