"""airbench's net, which whitens patches and starts from identities."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_davidnet._checks import check_count, to_python
from keras_davidnet.datasets.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from keras_davidnet.layers import ConvGroup, WhiteningConv2D
from keras_davidnet.layers.one_pass import FastActivation
from keras_davidnet.models.whitened import Whitened
from keras_davidnet.optimizers import airbench_optimizer

# PyTorch's default for the bias of such a convolution.
_WHITENING_BIAS = keras.initializers.RandomUniform(-(12**-0.5), 12**-0.5)
# Of standard deviation 1.
_HEAD = keras.initializers.RandomUniform(-(3**0.5), 3**0.5)


@keras.saving.register_keras_serializable("keras_davidnet")
class Airbench(Whitened):
    """airbench's net, from raw images to logits.

    A `WhiteningConv2D` of 2x2 patches and its activation, then a `ConvGroup`
    for each of `widths`, then global max pooling, a linear layer without bias,
    and the logits times `logit_scale`.  With the default widths and 10 classes
    it has 1,971,640 weights, 288 of them frozen.  Call `adapt` before training.

    Input: `(batch, height, width, channels)`, raw images in 0..255, uint8 or
    float; the model normalises them itself.  Any height and width of at least
    9 pixels will do.  Output: `(batch, num_classes)`, the logits; or, without
    the top, the last group's feature map.  All defaults are airbench94_muon's.

    Args:
        widths: Number of filters of each of the three groups: `(64, 256, 256)`
            for 94%, `(128, 384, 384)` for 95%, `(128, 384, 512)` for 96%.
        residual: Whether each group has a third convolution and a sum, which
            the net for 96% has.
        momentum: Momentum of the batch normalizations' moving statistics.
        whitening_bias_initializer: Initializer of the whitening's bias; by
            default uniform within `1 / sqrt(12)`.
        head_initializer: Initializer of the linear layer; by default uniform
            within `sqrt(3)`.
        group_activation: Name or function of the groups' activation, as
            `ConvGroup` takes it; that after the whitening is GELU.
        **kwargs: Arguments of `keras.Model`: `name`, `dtype`.

    The other arguments are those of `ImageClassifier`.

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
    smallest = 9
    default_optimizer = staticmethod(airbench_optimizer)

    def __init__(
        self,
        num_classes: int = 10,
        widths: Sequence[int] = (64, 256, 256),
        residual: bool = False,
        input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
        include_top: bool = True,
        mean: tuple[float, ...] = CIFAR10_MEAN,
        std: tuple[float, ...] = CIFAR10_STD,
        augmentation: str | keras.layers.Layer | None = "crop2",
        momentum: float = 0.6,
        whitening_bias_initializer: str | Callable = _WHITENING_BIAS,
        head_initializer: str | Callable = _HEAD,
        logit_scale: float = 1 / 256,
        label_smoothing: float = 0.2,
        views: str | None = None,
        group_activation: str | Callable = "gelu",
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
        widths = to_python(widths)
        if not isinstance(widths, list | tuple) or len(widths) != 3:
            raise ValueError(
                "`widths` must be three numbers of filters. "
                f"Received: widths={widths!r}"
            )
        self.widths = tuple(check_count("widths", width) for width in widths)
        self.residual = to_python(residual)
        self.head_initializer = keras.initializers.get(head_initializer)
        common = {"trainable": self.trainable, "dtype": self.dtype_policy}
        self.whiten = WhiteningConv2D(
            bias_initializer=whitening_bias_initializer,
            name="whiten",
            **common,
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
                name=f"group{index}",
                **common,
            )
            for index, width in enumerate(self.widths, 1)
        )
        self.momentum = self.group1.momentum
        self.finish(self.head_initializer)

    @property
    def body(self):
        groups = self.group1, self.group2, self.group3
        return (self.whiten, self.activation, *groups)

    def get_config(self) -> dict:
        serialize = keras.initializers.serialize
        return {
            **super().get_config(),
            "widths": self.widths,
            "residual": self.residual,
            "group_activation": self.group1.get_config()["activation"],
            "momentum": self.momentum,
            "whitening_bias_initializer": serialize(
                self.whitening_bias_initializer
            ),
            "head_initializer": serialize(self.head_initializer),
        }
