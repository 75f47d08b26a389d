"""DavidNet, a ResNet of nine layers."""

from typing import Any

import keras

from keras_davidnet._checks import check_count, check_number
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

    In training, `augmentation` runs inside the compiled step.  `compile()`
    without arguments is the recipe for CIFAR-10: cross entropy against sparse
    labels, accuracy, and `optimizers.davidnet_optimizer()`, 24 epochs of 97
    batches of 512.  The logs of `fit` hold the rate of the last step as
    `learning_rate`.

    Args:
        num_classes: Number of classes.
        width: Number of filters of the first convolution.
        dropout: Rate of the dropout in each `ConvBN`.
        **kwargs: Arguments of `ImageClassifier`, whose `logit_scale` is 0.125
            here.

    Input shape:
        `(batch, height, width, channels)`, raw images in 0..255, uint8 or
        float, at least 8 pixels high and wide.

    Output shape:
        `(batch, num_classes)`; without the top `(batch, height // 8, width //
        8, 8 * width)`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:

    ```python
    model = DavidNet()
    model.compile()
    model.fit(train_ds, epochs=24, validation_data=test_ds)
    ```
    """

    # Three poolings halve height and width to one pixel at least.
    min_size = 8
    default_optimizer = staticmethod(davidnet_optimizer)

    def __init__(
        self,
        num_classes: int = 10,
        width: int = 64,
        *,
        dropout: float = 0.05,
        **kwargs: Any,
    ):
        super().__init__(num_classes, **{"logit_scale": 0.125, **kwargs})
        self.width = check_count("width", width)
        self.dropout = check_number("dropout", dropout, ge=0, lt=1)
        common = {
            "dropout": self.dropout,
            "dtype": self.dtype_policy,
        }
        self.prep = ConvBN(self.width, name="prep", **common)
        self.layer1 = ResBlock(
            2 * self.width, residual=True, name="layer1", **common
        )
        self.layer2 = ResBlock(4 * self.width, name="layer2", **common)
        self.layer3 = ResBlock(
            8 * self.width, residual=True, name="layer3", **common
        )
        self.body = [self.prep, self.layer1, self.layer2, self.layer3]

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "width": self.width,
            "dropout": self.dropout,
        }
