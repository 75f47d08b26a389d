"""airbench's net, which whitens patches and starts from identities."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_davidnet._checks import check_three_counts, to_python
from keras_davidnet.layers import ConvGroup, WhiteningConv2D
from keras_davidnet.layers.composite import serialize
from keras_davidnet.layers.fast_layers import FastActivation
from keras_davidnet.models.image_classifier import ImageClassifier
from keras_davidnet.optimizers import airbench_optimizer

# PyTorch's default for the bias of such a convolution.
_WHITENING_BIAS = keras.initializers.RandomUniform(-(12**-0.5), 12**-0.5)
# The standard deviation is 1.
_HEAD = keras.initializers.RandomUniform(-(3**0.5), 3**0.5)


@keras.saving.register_keras_serializable("keras_davidnet")
class Airbench(ImageClassifier):
    """airbench's net, from raw images to logits.

    A `WhiteningConv2D` of 2x2 patches and its activation, then a `ConvGroup`
    for each of `widths`, then global max pooling, a linear layer without bias,
    and the logits times `logit_scale`.  With the default widths and 10 classes
    it has 1,971,640 weights, 288 of them frozen.  Call `adapt` before training.

    All defaults are those of the recipe `airbench94_muon`.

    Args:
        num_classes: Number of classes.
        widths: Number of filters of each of the three groups: `(64, 256, 256)`
            for 94%, `(128, 384, 384)` for 95%, `(128, 384, 512)` for 96%.
        residual: Whether each group has a third convolution and a sum, which
            the net for 96% has.
        momentum: Momentum of the batch normalizations' moving statistics.
        epsilon: Added to the batch normalizations' variances.  A channel that
            is almost constant, as where images have a blank background, needs
            more than the default: `Recipe.for_data` gives 1e-3.
        whitening_bias_initializer: Initializer of the whitening's bias; by
            default uniform within `1 / sqrt(12)`.
        head_initializer: Initializer of the linear layer; by default uniform
            within `sqrt(3)`.
        group_activation: Name or function of the groups' activation, as
            `ConvGroup` takes it; that after the whitening is GELU.
        **kwargs: Arguments of `ImageClassifier`; here `augmentation` is
            `"crop2"`, `logit_scale` 1 / 256, `label_smoothing` 0.2.

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
    model = Airbench()
    model.adapt(x_train[:5000])
    model.compile()
    model.fit(train_ds, epochs=8, validation_data=test_ds)
    ```

    References:
        - [Jordan, 2024](https://arxiv.org/abs/2404.00498)
        - [cifar10-airbench](https://github.com/KellerJordan/cifar10-airbench)
    """

    # 9 pixels are 8 whitened ones, which three poolings halve to one.
    min_size = 9
    default_optimizer = staticmethod(airbench_optimizer)

    def __init__(
        self,
        num_classes: int = 10,
        widths: Sequence[int] = (64, 256, 256),
        residual: bool = False,
        *,
        momentum: float = 0.6,
        epsilon: float = 1e-12,
        whitening_bias_initializer: str | Callable = _WHITENING_BIAS,
        head_initializer: str | Callable = _HEAD,
        group_activation: str | Callable = "gelu",
        **kwargs: Any,
    ):
        defaults = {
            "augmentation": "crop2",
            "logit_scale": 1 / 256,
            "label_smoothing": 0.2,
        }
        super().__init__(
            num_classes,
            head_initializer=head_initializer,
            **{**defaults, **kwargs},
        )
        self.widths = check_three_counts("widths", widths)
        self.residual = to_python(residual)
        self.whiten = WhiteningConv2D(
            bias_initializer=whitening_bias_initializer,
            name="whiten",
            dtype=self.dtype_policy,
        )
        self.whitening_bias_initializer = self.whiten.bias_initializer
        self.activation = FastActivation(
            "gelu", dtype=self.dtype_policy, name="activation"
        )
        self.group1, self.group2, self.group3 = (
            ConvGroup(
                width,
                residual,
                group_activation,
                momentum=momentum,
                epsilon=epsilon,
                name=f"group{index}",
                dtype=self.dtype_policy,
            )
            for index, width in enumerate(self.widths, 1)
        )
        self.momentum = self.group1.momentum
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
            "residual": self.residual,
            "group_activation": serialize(self.group1.activation),
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "whitening_bias_initializer": keras.initializers.serialize(
                self.whitening_bias_initializer
            ),
        }
