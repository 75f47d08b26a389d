"""The shell that all nets of this family share, from raw images to logits."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_davidnet import presets
from keras_davidnet._array_checks import check_images
from keras_davidnet._checks import (
    check_count,
    check_image_shape,
    check_number,
    check_numbers,
    to_python,
)
from keras_davidnet.datasets.cifar10 import CIFAR10_MEAN, CIFAR10_STD
from keras_davidnet.initializers import clone_initializer
from keras_davidnet.layers.augmentation import get_augmentation
from keras_davidnet.layers.part import Part, build_any, output_shape
from keras_davidnet.models.built_when_made import BuiltWhenMade
from keras_davidnet.models.classifier import Classifier, check_not_named
from keras_davidnet.models.views import check_views, weighted_views


class ImageClassifier(Part, Classifier, metaclass=BuiltWhenMade):
    """Normalisation, augmentation, a body, a head, views: the common shell.

    Raw images are normalised, augmented when training, passed through `body`,
    pooled by their global maximum and mapped to logits by a linear layer
    without bias.  Inference averages the logits over `views`.

    A subclass sets `smallest` and `default_optimizer`, makes its layers after
    `super().__init__()`, names them in `body`, and ends its constructor with
    `self.finish(kernel_initializer)`.

    Args:
        num_classes: Number of classes, at least 2.
        input_shape: `(height, width, channels)` of the images; height and
            width may be None.
        include_top: Whether the pooling and the linear layer are there; a net
            without them is a backbone and gives the feature map.
        mean: Per-channel mean of the training images scaled to [0, 1].
        std: Per-channel standard deviation, on the same scale.
        augmentation: A layer that sees the normalised images when training;
            or words for one, such as `"crop_flip"`; or None.
        logit_scale: Factor on the logits.  It may be set later.
        label_smoothing: Smoothing of the default loss when training, in
            `[0, 1)`; in evaluation the loss is the plain cross entropy.
        views: What inference averages: None for the image alone, `"mirror"`
            for it and its mirror image, `"mirror_translate"` for six views.  It
            may be set later.
        **kwargs: Arguments of `keras.Model`: `name`, `dtype`.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If `augmentation` is not of these.
    """

    smallest = 1  # height and width of the images
    num_adapt_images = 0
    _training_size = None

    def __init__(
        self,
        num_classes: int = 10,
        input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
        include_top: bool = True,
        mean: tuple[float, ...] = CIFAR10_MEAN,
        std: tuple[float, ...] = CIFAR10_STD,
        augmentation: str | keras.layers.Layer | None = "crop_flip",
        logit_scale: float = 1.0,
        label_smoothing: float = 0.0,
        views: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_classes = check_count("num_classes", num_classes, 2)
        self.image_shape = check_image_shape(
            "input_shape", input_shape, self.smallest
        )
        channels = self.image_shape[2]
        self.include_top = to_python(include_top)
        self.mean = tuple(check_numbers("mean", mean))
        self.std = tuple(check_numbers("std", std))
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError(
                "`mean` and `std` must hold one number for each of the "
                f"{channels} channels. Received: mean={mean}, std={std}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"`std` must be positive. Received: std={std}")
        self.logit_scale = logit_scale
        self.label_smoothing = check_number(
            "label_smoothing", label_smoothing, ge=0, lt=1
        )
        self.views = views
        # In float32: the 8 bits of a bfloat16 hold the pixels, but not their
        # distance from the mean.
        self.normalization = keras.layers.Rescaling(
            scale=[1 / (255 * s) for s in self.std],
            offset=[-m / s for m, s in zip(self.mean, self.std, strict=True)],
            dtype="float32",
            name="normalization",
        )
        # A word stays a word in the config: its layers take the precision of
        # whatever model is made from it.
        is_word = isinstance(augmentation, str)
        self._augmentation_word = augmentation if is_word else None
        self.augmentation = get_augmentation(
            augmentation, channels, self.dtype_policy
        )

    def finish(self, kernel_initializer: str | Callable) -> None:
        """Adds the head, as the last layers."""
        if self.include_top:
            self.pool = keras.layers.GlobalMaxPooling2D(
                data_format="channels_last",
                dtype=self.dtype_policy,
                name="pool",
            )
            self.linear = keras.layers.Dense(
                self.num_classes,
                use_bias=False,
                kernel_initializer=clone_initializer(kernel_initializer),
                trainable=self.trainable,
                dtype=self.dtype_policy,
                name="linear",
            )

    def adapt(self, images) -> None:
        """Prepares the net for training images; by default does nothing."""

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> "ImageClassifier":
        """A trained net, or a net of other arguments with its weights.

        Args:
            name: One of `presets.list()`.
            **changes: Arguments of the net to change.  With another
                `num_classes` the head is new; with `include_top=False` there
                is none, nor are there views.

        Returns:
            The net, not compiled; without changes as `presets.load` gives it.

        Raises:
            ValueError: If there is no trained net of that name, it is not one
                of this class, or its weights do not fit the changed net.

        Example:

        ```python
        backbone = Airbench.from_preset(
            "airbench94_muon_cifar10", include_top=False
        )
        ```
        """
        trained = presets.load(name)
        if not isinstance(trained, cls):
            raise ValueError(
                f"{cls.__name__}.from_preset needs the name of a trained "
                f"{cls.__name__}. Received: {name!r}, which is of the class "
                f"{type(trained).__name__}"
            )
        if not changes:
            return trained
        if not changes.get("include_top", True):
            changes.setdefault("views", None)
        net = type(trained).from_config({**trained.get_config(), **changes})
        for layer, source in zip(net.body, trained.body, strict=True):
            layer.set_weights(source.get_weights())
        if net.include_top and net.num_classes == trained.num_classes:
            net.linear.set_weights(trained.linear.get_weights())
        return net

    @property
    def body(self) -> tuple[keras.layers.Layer, ...]:
        """The layers between the normalised images and the pooling."""
        raise NotImplementedError

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """`(None, height, width, channels)`."""
        return (None, *self.image_shape)

    @property
    def views(self) -> str | None:
        return self._views

    @views.setter
    def views(self, views):
        check_views(views, self.include_top, self.image_shape)
        self._views = views
        self._forget_steps()

    @property
    def logit_scale(self) -> float:
        return self._logit_scale

    @logit_scale.setter
    def logit_scale(self, logit_scale):
        self._logit_scale = check_number("logit_scale", logit_scale, ge=0)
        self._forget_steps()

    @property
    def training_size(self) -> int | None:
        """What training scales images to; for `ProgressiveResizing` to set."""
        return self._training_size

    @training_size.setter
    def training_size(self, size):
        if size != self._training_size:
            self._training_size = size
            self._forget_train_step()

    def _forget_steps(self):
        """Traces the steps anew: they have old attributes in them."""
        self.test_function = self.predict_function = None
        self._forget_train_step()

    def _forget_train_step(self):
        # `fit` may be running.
        if self.train_function is not None:
            self.make_train_function(force=True)

    def build(self, input_shape):
        if self.built:
            return
        self.normalization.build(input_shape)
        if self.augmentation is not None:
            # A symbolic call builds any layer, one without `build` included.
            self.augmentation(keras.Input(input_shape[1:]), training=False)
        shape = input_shape
        for layer in self.body:
            shape = build_any(layer, shape)
        if self.include_top:
            build_any(self.linear, build_any(self.pool, shape))

    def call(self, images, training=False):
        check_not_named(images)
        check_images("images", images, self.image_shape[2], self.smallest)
        x = self.normalization(images)
        if training:
            if self.augmentation is not None:
                x = self.augmentation(x, training=True)
            size = self.training_size
            if size is not None and x.shape[1:3] != (size, size):
                x = ops.image.resize(
                    x,
                    (size, size),
                    antialias=True,
                    data_format="channels_last",
                )
            return self._forward(x, training)
        return sum(
            weight * self._forward(view, training)
            for weight, view in weighted_views(self.views, x)
        )

    def _forward(self, x, training):
        for layer in self.body:
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
        for layer in self.body:
            shape = output_shape(layer, shape)
        return shape

    def get_config(self) -> dict:
        config = {
            **super().get_config(),
            "num_classes": self.num_classes,
            "input_shape": self.image_shape,
            "include_top": self.include_top,
            "mean": self.mean,
            "std": self.std,
            "augmentation": self._augmentation_word
            or (
                self.augmentation and keras.layers.serialize(self.augmentation)
            ),
            "logit_scale": self.logit_scale,
            "label_smoothing": self.label_smoothing,
            "views": self.views,
        }
        if self.include_top and not self.gives_logits:
            config["head_activation"] = keras.activations.serialize(
                self.linear.activation
            )
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        activation = config.pop("head_activation", None)
        if isinstance(config.get("augmentation"), dict):
            config["augmentation"] = keras.layers.deserialize(
                config["augmentation"], custom_objects
            )
        net = super().from_config(config, custom_objects=custom_objects)
        if activation is not None:
            net.linear.activation = keras.activations.deserialize(
                activation, custom_objects
            )
        return net
