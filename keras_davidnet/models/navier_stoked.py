"""NAVIER-STOKED's net, which reaches 75% on CIFAR-100."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_davidnet._checks import check_three_counts
from keras_davidnet.datasets import CIFAR100_MEAN, CIFAR100_STD
from keras_davidnet.layers import ConvGroup, WhiteningConv2D
from keras_davidnet.layers.fast_layers import FastActivation
from keras_davidnet.models.image_classifier import ImageClassifier
from keras_davidnet.optimizers import navier_stoked_optimizer

# The three convolutions of each group.
_KERNEL_SIZES = (3, 1, 1), (3, 3, 1), (2, 3, 3)


@keras.saving.register_keras_serializable("keras_davidnet")
class GlobalMaxMeanPooling2D(keras.layers.GlobalMaxPooling2D):
    """The maximum of each channel plus its mean."""

    def call(self, inputs):
        return super().call(inputs) + ops.mean(inputs, axis=(1, 2))


@keras.saving.register_keras_serializable("keras_davidnet")
class NavierStoked(ImageClassifier):
    """The net of NAVIER-STOKED, from raw images to logits.

    It is airbench's, with residual groups of kernels of several sizes.  A
    `WhiteningConv2D` of 2x2 patches, centered, and SiLU; then three
    `ConvGroup`s with `activate_sum=False`, whose kernels are of 3, 1 and 1
    pixels, 3, 3 and 1, and 2, 3 and 3; then the global maximum plus the global
    mean, a linear layer without bias, and the logits times `logit_scale`.  At
    the default widths and 100 classes it has 8,608,312 weights, 288 of them
    frozen.  Call `adapt` before training.

    All defaults are those of the recipe `cifar100_75`.

    Args:
        num_classes: Number of classes.
        widths: Number of filters of each of the three groups.
        inner_widths: Number of filters of each group's second convolution.
        epsilon: Epsilon of the batch normalizations, as in `Airbench`.
        **kwargs: Arguments of `ImageClassifier`; here `mean` and `std` are
            CIFAR-100's, `augmentation` is `"crop2"`, `logit_scale` 1.25 / 9,
            `label_smoothing` 0.25.

    Input shape:
        `(batch, height, width, channels)`, raw images in 0..255, uint8 or
        float, at least 9 pixels high and wide.

    Output shape:
        `(batch, num_classes)`; without the top the last group's feature map.

    Raises:
        ValueError: If an argument is out of its range; when training, if
            `adapt` was never called.

    Example:

    ```python
    model = NavierStoked()
    model.adapt(x_train[:5000])
    model.compile()
    model.fit(train_ds, epochs=8.75, validation_data=test_ds)
    ```

    References:
        - [CIFAR-100-speedrun](
          https://github.com/AIDDA-Institute/CIFAR-100-speedrun), the contest.
        - [Jordan, 2024](https://arxiv.org/abs/2404.00498), for airbench.
    """

    # 9 pixels are 8 whitened ones, which three poolings halve to one.
    min_size = 9
    pooling = GlobalMaxMeanPooling2D
    default_optimizer = staticmethod(navier_stoked_optimizer)

    def __init__(
        self,
        num_classes: int = 100,
        widths: Sequence[int] = (64, 256, 768),
        inner_widths: Sequence[int] = (64, 192, 512),
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        defaults = {
            "mean": CIFAR100_MEAN,
            "std": CIFAR100_STD,
            "augmentation": "crop2",
            "logit_scale": 1.25 / 9,
            "label_smoothing": 0.25,
        }
        super().__init__(num_classes, **{**defaults, **kwargs})
        self.widths = check_three_counts("widths", widths)
        self.inner_widths = check_three_counts("inner_widths", inner_widths)
        self.whiten = WhiteningConv2D(
            centered=True, name="whiten", dtype=self.dtype_policy
        )
        self.activation = FastActivation(
            "silu", dtype=self.dtype_policy, name="activation"
        )
        self.group1, self.group2, self.group3 = (
            ConvGroup(
                width,
                residual=True,
                activation="silu",
                momentum=0.9,
                epsilon=epsilon,
                kernel_sizes=kernel_sizes,
                inner_filters=inner_width,
                scale=True,
                activate_sum=False,
                name=f"group{index}",
                dtype=self.dtype_policy,
            )
            for index, (width, inner_width, kernel_sizes) in enumerate(
                zip(self.widths, self.inner_widths, _KERNEL_SIZES, strict=True),
                1,
            )
        )
        self.epsilon = self.group1.epsilon
        self.body = [
            self.whiten,
            self.activation,
            self.group1,
            self.group2,
            self.group3,
        ]

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "widths": self.widths,
            "inner_widths": self.inner_widths,
            "epsilon": self.epsilon,
        }
