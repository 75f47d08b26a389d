"""The shell that all nets share, from raw images to a trained model."""

import abc
import inspect
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_davidnet import _backend, presets
from keras_davidnet._array_checks import (
    as_array,
    check_finite,
    check_images,
    check_label_shape,
    check_labels,
    check_not_dict,
    check_raw,
    first_images,
)
from keras_davidnet._checks import (
    check_class_names,
    check_count,
    check_image_shape,
    check_number,
    check_numbers,
    to_python,
)
from keras_davidnet._split import num_training
from keras_davidnet.callbacks.fit_hooks import FitHooks
from keras_davidnet.datasets import CIFAR10_MEAN, CIFAR10_STD, Batches
from keras_davidnet.initializers import PyTorchUniform, clone_initializer
from keras_davidnet.layers.augmentation import get_augmentation
from keras_davidnet.layers.composite import (
    CompositeLayer,
    output_shape,
    pass_trainable,
)
from keras_davidnet.losses import (
    SmoothedCrossentropy,
    check_takes_logits,
    flat_labels,
)
from keras_davidnet.models.fit_callback import FitCallback, PartialEpoch
from keras_davidnet.models.test_time_augmentation import (
    check_views,
    weighted_views,
)
from keras_davidnet.optimizers.averaging import find_average
from keras_davidnet.optimizers.default_rates import mark_rates, unmarked_rates
from keras_davidnet.optimizers.grouped import GroupedOptimizer
from keras_davidnet.optimizers.leaves import unwrap


class _BuiltOnInit(abc.ABCMeta, type(keras.Model)):
    """Builds a net when the constructors of its class and subclasses are done.

    Only a metaclass is called after the last of them.  Built there, a net has
    its weights from the start and a subclass can still add layers, or be
    abstract.
    """

    # Pyright does not know that a model's type is a metaclass.
    def __call__(cls, *args, **kwargs):  # pyright: ignore[reportSelfClsParameterName]
        net = super().__call__(*args, **kwargs)
        net.build(net.input_shape)
        pass_trainable(net)
        return net

    @property
    def __signature__(cls):
        _, *arguments = inspect.signature(cls.__init__).parameters.values()
        return inspect.Signature(arguments)


class ImageClassifier(CompositeLayer, keras.Model, metaclass=_BuiltOnInit):
    """Base class: normalization, augmentation, backbone, head and TTA.

    Raw images are normalized, augmented when training, passed through the
    layers of `body`, pooled by `pooling` and mapped to logits by a linear layer
    without bias.  Inference averages the outputs over `views`.

    A subclass sets `min_size` and `default_optimizer`, and its constructor
    sets `self.body`, a list of layers.  It may set `pooling`, by default
    `keras.layers.GlobalMaxPooling2D`.  The head, `pool` and `linear`, is made
    when the constructor is done.

    If the first layer of the body has a method `adapt`, as `WhiteningConv2D`,
    call the model's `adapt` with training images before training.

    Args:
        num_classes: Number of classes, at least 2.
        input_shape: `(height, width, channels)` of the images; height and
            width may be None.
        include_top: Whether to include the pooling and the linear layer.
            Without them the model is a backbone and returns a feature map.
        mean: Per-channel mean of the training images scaled to [0, 1].
        std: Per-channel standard deviation, on the same scale.
        augmentation: A layer applied to the normalized images in training; or
            a string such as `"crop_flip"`; or None.
        logit_scale: Factor on the logits.  It may be set later.
        label_smoothing: Smoothing of the default loss when training, in
            `[0, 1)`; in evaluation the loss is the plain cross entropy.
        views: What inference averages: None for the image alone, `"mirror"`
            for it and its mirror image, `"mirror_translate"` for six views.  It
            may be set later.
        head_initializer: Initializer of the linear layer.
        classifier_activation: Name or function of the activation of the
            scaled logits, such as `"softmax"`; None for logits.
        class_names: Names of the classes in the order of the labels, for
            `decode_predictions`; saved with the model.  Optional.
        **kwargs: Arguments of `keras.Model`: `name`, `dtype`.

    Input shape:
        `(batch, height, width, channels)`, raw images in 0..255, uint8 or
        float.

    Output shape:
        `(batch, num_classes)`; without the top the shape of the feature map.

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If `augmentation` is not of these.
    """

    min_size = 1  # height and width of the images
    batch_multiple = 1  # of the batch size when training
    num_adapt_images = 5000
    pooling: type[keras.layers.Layer] = keras.layers.GlobalMaxPooling2D

    body: Sequence[keras.layers.Layer]
    default_optimizer: Callable[..., keras.optimizers.Optimizer]

    # Recipes set it while `fit` runs: validation sees the images once, and a
    # file that is saved then has the views.
    one_view = False
    warned_of_rates = False
    last_single_epoch = None
    example_log = None  # `ExampleLog` sets it while `fit` runs
    _training_size = None

    def __init__(
        self,
        num_classes: int = 10,
        input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
        include_top: bool = True,
        mean: Sequence[float] = CIFAR10_MEAN,
        std: Sequence[float] = CIFAR10_STD,
        augmentation: str | keras.layers.Layer | None = "crop_flip",
        logit_scale: float = 1.0,
        label_smoothing: float = 0.0,
        views: str | None = None,
        head_initializer: str | Callable = PyTorchUniform,
        classifier_activation: str | Callable | None = None,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_classes = check_count("num_classes", num_classes, ge=2)
        self.class_names = class_names
        self.image_shape = check_image_shape(
            "input_shape", input_shape, self.min_size
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
        self.head_initializer = head_initializer
        self.classifier_activation = keras.activations.get(
            classifier_activation
        )
        # In float32: the 8 bits of a bfloat16 hold the pixels, but not their
        # distance from the mean.  Nested lists have the channels last whatever
        # Keras's global data format is.
        self.normalization = keras.layers.Rescaling(
            scale=[[[1 / (255 * s) for s in self.std]]],
            offset=[
                [[-m / s for m, s in zip(self.mean, self.std, strict=True)]]
            ],
            dtype="float32",
            name="normalization",
        )
        # A word stays a word in the config: its layers take the precision of
        # the model that is made from it.
        is_word = isinstance(augmentation, str)
        self._augmentation_word = augmentation if is_word else None
        self.augmentation = get_augmentation(
            augmentation, channels, self.dtype_policy
        )

    # Building and calling

    def build(self, input_shape):
        if self.built:
            return
        self._check_names()
        # Not in the constructor: its random seeds come after the body's.
        self.head_initializer = keras.initializers.get(self.head_initializer)
        if self.include_top:
            self._add_head()
        x = self.normalization(keras.KerasTensor(input_shape))
        if self.augmentation is not None:
            self.augmentation(x, training=False)
        # A symbolic call builds any layer, one without `build` included.
        for layer in self.body:
            x = layer(x)
        if self.include_top:
            self.linear(self.pool(x))
        if not all(layer.built for layer in self.layers):
            # A subclass has more, which its `call` builds when it is traced.
            images = keras.KerasTensor(input_shape)
            keras.Operation.compute_output_spec(self, images)

    def _check_names(self):
        """Raises an error if a subclass has taken a name of the shell."""
        head = ["pool", "linear"] if self.include_top else []
        taken = [name for name in head if hasattr(self, name)]
        if not isinstance(self.normalization, keras.layers.Rescaling):
            taken.append("normalization")
        if taken:
            raise ValueError(
                f"`{taken[0]}` is a layer that every net of this package has: "
                f"give yours another name. Received: a {type(self).__name__} "
                f"with {taken[0]}={getattr(self, taken[0])}"
            )

    def _add_head(self):
        self.pool = self.pooling(
            data_format="channels_last", dtype=self.dtype_policy, name="pool"
        )
        self.linear = keras.layers.Dense(
            self.num_classes,
            use_bias=False,
            kernel_initializer=clone_initializer(self.head_initializer),
            dtype=self.dtype_policy,
            name="linear",
        )

    def call(self, images, training=False):
        check_not_dict(images)
        check_images("images", images, self.image_shape[2], self.min_size)
        x = self.normalization(images)
        if training:
            if self.augmentation is not None:
                x = self.augmentation(x, training=True)
            if self.training_size not in (None, tuple(x.shape[1:3])):
                x = _backend.resize(x, self.training_size, self.jit_compile)
            return self._forward(x, training)
        views = None if self.one_view else self.views
        return sum(
            weight * self._forward(view, training)
            for weight, view in weighted_views(views, x)
        )

    def _forward(self, x, training):
        for layer in self.body:
            x = layer(x, training=training)
        if not self.include_top:
            return x
        # Softmax and loss want float32 under any precision.
        logits = ops.cast(self.linear(self.pool(x)), self.variable_dtype)
        return self.classifier_activation(self.logit_scale * logits)

    def compute_output_spec(self, *args, **kwargs):
        if type(self).call is not ImageClassifier.call:
            # It may return anything.
            return keras.Operation.compute_output_spec(self, *args, **kwargs)
        shape = super().compute_output_spec(*args, **kwargs).shape
        dtype = self.variable_dtype if self.include_top else self.compute_dtype
        return keras.KerasTensor(shape, dtype)

    def compute_output_shape(self, input_shape):
        if self.include_top:
            return (input_shape[0], self.num_classes)
        shape = input_shape
        for layer in self.body:
            shape = output_shape(layer, shape)
        return shape

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """`(None, height, width, channels)`."""
        return (None, *self.image_shape)

    @property
    def class_names(self) -> Sequence[str] | None:
        """They may be set later."""
        return self._class_names

    @class_names.setter
    def class_names(self, names):
        if names is not None:
            names = check_class_names(names, self.num_classes)
        self._class_names = names

    # What may be set later is read when a step is traced.

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
    def training_size(self) -> tuple[int, ...] | None:
        """What training scales images to; for `ProgressiveResizing` to set."""
        return self._training_size

    @training_size.setter
    def training_size(self, size: int | tuple[int, int] | None):
        if isinstance(size, int):
            height, width, _ = self.image_shape
            if height != width:
                raise ValueError(
                    "Images that are not square are scaled to (height, width). "
                    f"Received: size={size}, images of shape {self.image_shape}"
                )
            size = size, size
        if size != self._training_size:
            self._training_size = size
            self._forget_train_step()

    def _forget_steps(self):
        self.test_function = self.predict_function = None
        self._forget_train_step()

    def _forget_train_step(self):
        # `fit` may be running.
        if self.train_function is not None:
            self.make_train_function(force=True)

    # Training

    def adapt(self, images) -> None:
        """Computes what the first layer takes from images, such as filters.

        Does nothing in a net whose first layer has no `adapt`.

        Args:
            images: Raw training images, `(n, height, width, channels)`, or
                batches of them or of `(images, labels)`, such as a
                `tf.data.Dataset`.  The first `num_adapt_images` are used.

        Raises:
            ValueError: If they are not such images, or too few, or constant.
        """
        first = self.body[0]
        if not hasattr(first, "adapt"):
            return
        # What a function makes of them is known batch by batch.
        if isinstance(images, Batches) and not images.functions:
            subset = images.plan and images.plan.subset
            images = images.images
            if subset is not None:
                images = images[subset.nonzero()[0][: self.num_adapt_images]]
        images = first_images("images", images, self.num_adapt_images)
        images = self.check_arrays("images", images)
        first.adapt(self.normalization(images))

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        loss: str | Callable | None = None,
        *,
        metrics: list | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training; arguments left out take the model's defaults.

        Args:
            optimizer: By default that of the model's recipe; its learning rate
                falls to zero by the end of the next `fit`.
            loss: By default cross entropy against sparse labels of shape
                `(batch,)` or `(batch, 1)`, with the model's `label_smoothing`
                when training.
            metrics: By default accuracy.
            **kwargs: As for `keras.Model.compile`.

        Raises:
            ValueError: If the model has no top and no loss is given, or if it
                has `label_smoothing` and a loss is given, or if the loss takes
                probabilities and the model returns logits, or if the model was
                made under `tf.distribute.MultiWorkerMirroredStrategy`, which
                Keras 3 cannot train under.
        """
        _backend.check_strategy(self)
        # The softmax of log-probabilities is that of the logits.
        logits = self.classifier_activation in (
            keras.activations.linear,
            keras.activations.log_softmax,
        )
        if loss is None:
            if not self.include_top:
                raise ValueError(
                    f"A {type(self).__name__} without its top has no loss of "
                    "its own: give one to compile(), or put a head on the net "
                    "and compile that. Received: loss=None, include_top=False"
                )
            loss = SmoothedCrossentropy(logits, self.label_smoothing)
        elif not isinstance(loss, SmoothedCrossentropy):
            if self.label_smoothing:
                raise ValueError(
                    "`label_smoothing` belongs to the model's own loss: build "
                    "the model without it, or compile without `loss`. "
                    f"Received: label_smoothing={self.label_smoothing}, "
                    f"loss={loss!r}"
                )
            if logits and self.include_top:
                check_takes_logits(loss)
        super().compile(
            optimizer=optimizer or mark_rates(self.default_optimizer()),
            loss=loss,
            metrics=["accuracy"] if metrics is None else metrics,
            **kwargs,
        )
        self.warned_of_rates = False

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs: float = 1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        *,
        class_weight=None,
        steps_per_epoch=None,
        **kwargs,
    ):
        """Like `keras.Model.fit`, with checks and a default learning rate.

        All values of arrays are checked, `validation_data` included; of streams
        only the types.  The rate of a default `compile()` reaches zero at the
        last step.  Batches of `datasets.make_dataset` show the epoch that `fit`
        is in.

        Args:
            epochs: May be fractional: 9.9 stops within the tenth epoch.

        The other arguments are those of `keras.Model.fit`.

        Raises:
            ValueError: If images or labels are not what the model takes: of
                another shape or dtype, empty, not finite, on another scale, or
                labels out of range; if the size of a batch is not divisible by
                the model's `groups`; or if the default schedule needs the
                number of steps and it is not known.
            TypeError: If labels are not an array.
        """
        if validation_data is not None:
            data = keras.utils.unpack_x_y_sample_weight(validation_data)
            names = "validation_data[0]", "validation_data[1]"
            self._check_data(*names, *data[:2])
        self._check_data("x", "y", x, y)
        size = _batch_size(x, batch_size, validation_split, steps_per_epoch)
        if steps_per_epoch is None:
            self._check_batches(x, size, validation_split)
        plan = None
        if isinstance(x, Batches):
            plan = x.plan
            kwargs["shuffle"] = False  # They come in their own order.
            if y is not None or kwargs.get("sample_weight") is not None:
                raise ValueError(
                    "Batches have labels and weights of their own: "
                    "make_dataset(x, y, ..., sample_weight=...). Received: "
                    "`y` or `sample_weight` beside batches"
                )
            if plan is not None and steps_per_epoch not in (None, len(x)):
                raise ValueError(
                    f"An epoch of `x` has its own number of batches, {len(x)}. "
                    f"Received: steps_per_epoch={steps_per_epoch}"
                )
        if class_weight is not None:
            # Keras wants a weight for each class of some kinds of data.
            ones = dict.fromkeys(range(self.num_classes), 1.0)
            class_weight = {**ones, **class_weight}
        own = PartialEpoch if epochs % 1 else FitCallback
        callbacks = keras.tree.flatten(callbacks or [])
        hooks = [one for one in callbacks if isinstance(one, FitHooks)]
        for hook in hooks:
            hook.on_data(x, y, callbacks)
        # On some backends Keras does it first, without the statistics.
        self.build_optimizer()
        try:
            return super().fit(
                x=_stream(x),
                y=y,
                batch_size=batch_size,
                epochs=math.ceil(epochs),
                verbose=verbose,
                callbacks=[own(epochs, size, plan), *callbacks],
                validation_split=validation_split,
                validation_data=_stream(validation_data),
                class_weight=class_weight,
                steps_per_epoch=steps_per_epoch,
                **kwargs,
            )
        except BaseException as error:
            if self.compiled and (average := find_average(self.optimizer)):
                average.reset()
            # TensorFlow learns the size of a batch in the step.
            if (
                self.batch_multiple > 1
                and "multiple of" in str(error)
                and not isinstance(error, ValueError)
            ):
                raise self._batch_error("another size") from error
            raise
        finally:
            for hook in hooks:
                hook.restore()

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Like `keras.Model.evaluate`, but checks arrays, as `fit` does."""
        self._check_data("x", "y", x, y)
        with _backend.restore_on_error(self):
            return super().evaluate(_stream(x), y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """Like `keras.Model.predict`."""
        with _backend.restore_on_error(self):
            return super().predict(_stream(x), *args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        self.build_optimizer()
        return super().train_on_batch(*args, **kwargs)

    def make_train_function(self, force=False):
        if self.train_function is not None and not force:
            return
        if not getattr(self.body[0], "adapted", True):
            # Not when the step is traced: TensorFlow could not trace it again.
            raise ValueError(
                "The first layer of the net has no filters yet: call "
                "`model.adapt(images)` with training images before training. "
                f"Received: {self.body[0].name}.adapted=False"
            )
        self.build_optimizer()
        super().make_train_function(force=True)
        self.train_function = (
            _backend.multi_step_train_function(self) or self.train_function
        )

    def build_optimizer(self) -> None:
        """Builds the optimizer, as `fit` does; layers are frozen before it."""
        if not self.compiled:
            return
        average = find_average(self.optimizer)
        frozen = self.non_trainable_weights
        with _backend.variable_scope(self):
            if not self.optimizer.built:
                for optimizer in unwrap(self.optimizer):
                    if isinstance(optimizer, GroupedOptimizer):
                        optimizer.frozen = tuple(w.path for w in frozen)
                self.optimizer.build(self.trainable_variables)
            if average is not None:
                average.build_statistics(
                    [w for w in frozen if keras.backend.is_float_dtype(w.dtype)]
                )

    # Keras hands a step the data, and on JAX the state before them.

    def train_step(self, *args):
        *state, data = args
        step, average = super().train_step, find_average(self.optimizer)
        data = self._with_flat_labels(data)
        if average is None:
            return step(*state, data)
        # The moving statistics are averaged beside the weights.
        return _backend.averaged_step(self, average, step, *state, data)

    def test_step(self, *args):
        *state, data = args
        return super().test_step(*state, self._with_flat_labels(data))

    def _with_flat_labels(self, data):
        """Metrics see sparse labels of shape `(batch,)`, not `(batch, 1)`."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        check_not_dict(x)
        if isinstance(self.loss, SmoothedCrossentropy):
            y = flat_labels(y)
        return x, y, sample_weight

    @property
    def metrics(self):
        log = self.example_log
        return super().metrics + ([] if log is None else [log.metric])

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if isinstance(self.loss, SmoothedCrossentropy):
            # Here too: on JAX an error within a step would lose the weights.
            check_label_shape("y", y)
            self.loss.training = training
        if training and self.example_log is not None:
            self.example_log.metric.update_state(y, y_pred)
        try:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        finally:
            if isinstance(self.loss, SmoothedCrossentropy):
                self.loss.training = True

    # Checks

    def check_arrays(self, name: str, images):
        """The images as a NumPy array.

        Raises:
            ValueError: If they are not raw images that the model takes.
        """
        images = as_array(name, images)
        check_images(name, images, self.image_shape[2], self.min_size)
        low, high = check_finite(name, images)
        # Pixels in 0..1 deviate by less than one from their mean.
        if 255 * min(self.std) > 1.01:
            # Of a net for dark images such small ranges are right.
            dark = 255 * max(map(abs, self.mean)) <= 8
            check_raw(
                name,
                images,
                low,
                high,
                least_range=0 if dark else 255 * min(self.std),
                largest_mean=255 * (max(self.mean) + 3 * max(self.std)),
            )
        return images

    def _check_data(self, x_name, y_name, x, y):
        """Raises an error unless the model can be trained on these arrays.

        Streams are checked when the step is traced.
        """
        if isinstance(x, Batches):
            # A function may change the arrays: check a batch then.
            x, y = x[0][:2] if x.functions else (x.images, x.labels)
        if not (hasattr(x, "shape") and hasattr(x, "dtype")):
            return
        x = self.check_arrays(x_name, x)
        if isinstance(self.loss, SmoothedCrossentropy):
            if y is not None:
                y = as_array(y_name, y)
            check_labels(y_name, y, x, self.num_classes)

    def _check_batches(self, x, size, validation_split):
        """Raises an error before an epoch that would end with one."""
        if self.batch_multiple == 1:
            return
        sizes = ()
        if isinstance(x, Batches):
            sizes = len(x[0][0]), len(x[-1][0])
        elif hasattr(x, "shape"):
            sizes = size, num_training(len(x), validation_split) % size
        for size in sizes:
            if size % self.batch_multiple:
                raise self._batch_error(size)

    def _batch_error(self, size):
        return ValueError(
            f"Every batch in training must be a multiple of "
            f"groups={self.batch_multiple} of the net's batch normalization: "
            "datasets.make_dataset(..., training=True) leaves out a last one "
            f"that is smaller. Received: a batch of {size}"
        )

    # Saving

    def get_config(self) -> dict:
        return {
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
            "head_initializer": keras.initializers.serialize(
                self.head_initializer
            ),
            "classifier_activation": keras.activations.serialize(
                self.classifier_activation
            ),
            "class_names": self.class_names,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        # Files of 0.2.0 and earlier.
        if "head_activation" in config:
            config["classifier_activation"] = config.pop("head_activation")
        if config.pop("tta", False):
            config["views"] = "mirror"
        if not custom_objects:
            # An empty scope would hide the one that is open.
            return super().from_config(config)
        with keras.saving.custom_object_scope(custom_objects):
            return super().from_config(config)

    def get_compile_config(self):
        if "default_optimizer" not in vars(self):
            return super().get_compile_config()
        # The rates of a search's trial: a net that is loaded has the
        # optimizer of its class by default.
        with unmarked_rates(self.optimizer):
            return super().get_compile_config()

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        own_rates = config.pop("own_rates", False)  # of 0.2.0 and earlier
        try:
            self.compile(**config)
        except ValueError as error:
            # Earlier releases took losses that this one refuses.
            warnings.warn(
                f"The model's own loss replaces the saved one. {error}",
                stacklevel=2,
            )
            self.compile(**{**config, "loss": None})
        if own_rates:
            mark_rates(self.optimizer)
        self.build_optimizer()

    @classmethod
    def from_preset(
        cls, preset: str | os.PathLike, /, **changes: Any
    ) -> "ImageClassifier":
        """A trained net, or a net of other arguments with its weights.

        Args:
            preset: As for `presets.load`: a name or a folder.
            **changes: Arguments of the net to change.  With another
                `num_classes` the head is new, and the classes have no names
                unless `class_names` is given; with `include_top=False` there
                is no head, nor are there views.

        Returns:
            The net, not compiled.

        Raises:
            ValueError: If there is no trained net of that name, it is neither
                of this class nor of a base of it, or its weights do not fit
                the changed net.

        Example:

        ```python
        backbone = Airbench.from_preset(
            "airbench94_muon_cifar10", include_top=False
        )
        ```
        """
        trained = presets.load(preset)
        if issubclass(type(trained), cls):
            cls = type(trained)
        elif not issubclass(cls, type(trained)):
            raise ValueError(
                f"{cls.__name__}.from_preset needs the name of a trained "
                f"{cls.__name__}. Received: {preset!r}, which is of the class "
                f"{type(trained).__name__}"
            )
        if not changes.get("include_top", True):
            changes.setdefault("views", None)
        same_classes = changes.get("num_classes") in (None, trained.num_classes)
        if not same_classes:
            changes.setdefault("class_names", None)
        net = cls.from_config({**trained.get_config(), **changes})
        for layer, source in zip(
            net._beside_head(), trained._beside_head(), strict=True
        ):
            layer.set_weights(source.get_weights())
        if net.include_top and trained.include_top:
            net.pool.set_weights(trained.pool.get_weights())
            if same_classes:
                net.linear.set_weights(trained.linear.get_weights())
        return net

    def _beside_head(self):
        """Its layers with weights, those of a subclass included."""
        head = [self.pool, self.linear] if self.include_top else []
        return [one for one in self.layers if one.weights and one not in head]

    def save_to_preset(self, folder: str | os.PathLike) -> None:
        """Writes the net's config, its weights and a model card to a folder.

        `from_preset(folder)` reads it, as does `keras.saving.load_model`.  The
        card is `README.md`, in the form of Hugging Face's: add to it what the
        net was trained on and how good it is.

        Args:
            folder: Where to; it must not exist, or be empty.

        Raises:
            ValueError: If the folder holds something.
        """
        if os.path.exists(folder) and os.listdir(folder):
            raise ValueError(
                "`folder` must be new or empty. "
                f"Received: folder={str(folder)!r}"
            )
        # Without the optimizer.
        keras.saving.save_model(self.copy_with(), folder, zipped=False)
        path = os.path.join(folder, "README.md")
        with open(path, "w", encoding="utf-8") as card:
            card.write(presets.model_card(self))

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: list | None = None,
        **kwargs: Any,
    ) -> None:
        """Exports the net for inference, from raw uint8 images to its outputs.

        The exported net computes in float32: one that was trained in mixed
        precision returns the predictions of the float32 net of its weights.

        Args:
            filepath: Where to; a name in `.tflite` for `"litert"`.
            format: `"tf_saved_model"`, `"litert"`, `"onnx"`, or another that
                `keras.Model.export` knows.
            input_signature: By default one input, `images`, uint8, of the
                model's `input_shape`, any batch size.  In `format="torch"` that
                size is 1 without
                `dynamic_shapes={0: torch.export.Dim("batch")}`.
            verbose, **kwargs: As for `keras.Model.export`.
        """
        if input_signature is None:
            input_signature = [
                keras.InputSpec(
                    dtype="uint8", shape=self.input_shape, name="images"
                )
            ]
        # 16 bits change the logits, and Keras's ONNX export wants float32.
        net = self
        if self.compute_dtype != "float32":
            net = self.copy_with(dtype="float32", augmentation=None)
        super(ImageClassifier, net).export(
            os.fspath(filepath), format, verbose, input_signature, **kwargs
        )

    def copy_with(self, **changes: Any) -> "ImageClassifier":
        """A net of the same weights with changed arguments, not compiled.

        Args:
            **changes: Arguments of the net that leave its weights' shapes as
                they are, such as `dtype` or `views`.
        """
        net = self.from_config({**self.get_config(), **changes})
        net.set_weights(self.get_weights())
        return net


def _batch_size(x, batch_size, validation_split, steps_per_epoch):
    """Number of images in the batches of an epoch, None if it is not known."""
    if not hasattr(x, "shape"):
        return getattr(x, "batch_size", None)
    n = num_training(len(x), validation_split)
    if batch_size is None:
        batch_size = math.ceil(n / steps_per_epoch) if steps_per_epoch else 32
    return min(batch_size, n)


def _stream(data):
    return _backend.stream(data) if isinstance(data, Batches) else data
