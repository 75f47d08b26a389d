"""Loss, correctness and margin of each training image in each epoch."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_davidnet import _backend
from keras_davidnet.callbacks.fit_hooks import FitHooks
from keras_davidnet.losses import flat_labels


class ExampleLog(FitHooks):
    """Logs loss, correctness and margin of each training image in each epoch.

    They come from the logits of the training step itself, before its update
    and under its augmentation; there is no second pass over the images.

    For the nets of this package on the batches of `make_dataset`, or on arrays
    in `Recipe.fit`.  `Resume` saves the log with the run.

    Attributes:
        margin: `(epochs, n)`, float32: the logit of the label minus the
            log-sum-exp of the others.  NaN if the image was not shown: it was
            outside of the subset or in the incomplete last batch.
        correct: `(epochs, n)`: 1 where the label had the highest logit, 0
            where another class had; or NaN.
        loss: `(epochs, n)`: the cross entropy of the label, without smoothing;
            or NaN.

    Raises:
        ValueError: When `fit` begins, if the model is not one of this package
            or does not return logits, if it trains on several replicas of
            `tf.distribute`, or if the data are not such batches.
            Batches after `map` or `shard` are not.

    Example: the images whose labels the net believes least.

    ```python
    log = ExampleLog()
    recipes.get("davidnet").fit(x_train, y_train, callbacks=[log])
    suspects = log.mean_margin().argsort()[:100]
    ```
    """

    def __init__(self):
        super().__init__()
        # Margin and correctness.
        self._log = np.empty((2, 0, 0), "float32")
        self._plan: Any = None
        self.metric: Any = None

    @property
    def margin(self) -> np.ndarray:
        return self._log[0]

    @property
    def correct(self) -> np.ndarray:
        return self._log[1]

    @property
    def loss(self) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return np.logaddexp(0, -self.margin)

    def mean_margin(self) -> np.ndarray:
        """The mean margin of each image over the epochs, `(n,)`.

        Low for mislabeled images.  Pleiss et al. subtract the largest other
        logit; here it is the log-sum-exp.  NaN for an image never shown.

        References:
            - [Pleiss et al., 2020](https://arxiv.org/abs/2001.10528).
        """
        shown = (~np.isnan(self.margin)).sum(0)
        with np.errstate(invalid="ignore"):
            return np.nansum(self.margin, 0) / shown

    def forgetting_events(self) -> np.ndarray:
        """How often each image was right in one epoch and wrong in the next.

        Returns:
            `(n,)`, float: epochs in which an image was not shown do not count.
            Infinity for an image that was never right, NaN for one that was
            never shown.

        References:
            - [Toneva et al., 2019](https://arxiv.org/abs/1812.05159).
        """
        events = np.zeros(self.correct.shape[1])
        right = events > 0
        for correct in self.correct:
            events += right & (correct == 0)
            right = np.where(np.isnan(correct), right, correct == 1)
        events[~(self.correct == 1).any(0)] = np.inf
        events[np.isnan(self.correct).all(0)] = np.nan
        return events

    def on_data(self, x, y, callbacks):
        if getattr(x, "plan", None) is None or x.functions:
            raise ValueError(
                "ExampleLog needs data that tell which images a batch holds: "
                "the batches of make_dataset(..., training=True), without map "
                f"or shard, or arrays in Recipe.fit. Received: {type(x)}"
            )
        if sum(isinstance(one, ExampleLog) for one in callbacks) > 1:
            raise ValueError(
                "`fit` takes one ExampleLog. Received: callbacks with several"
            )
        if x.labels.size != len(x.labels):
            raise ValueError(
                "ExampleLog needs sparse labels, of shape (n,) or (n, 1). "
                f"Received: labels of shape {x.labels.shape}"
            )
        self._plan = x.plan

    def restore(self) -> None:
        model, self._plan, self.metric = self.model, None, None
        # By now the model may have another.
        if getattr(model, "example_log", None) is self:
            model.example_log = None
            model.make_train_function(force=True)

    # Called by Resume.

    def get_state(self) -> np.ndarray:
        self._collect()
        return self._log[:, : self._epoch + 1]

    def set_state(self, state: np.ndarray) -> None:
        self._log = state

    def on_train_begin(self, logs=None):
        if self._plan is None:
            raise ValueError(
                "ExampleLog is for the models of this package, whose step "
                f"keeps the logits. Received: model={self.model!r}"
            )
        model, plan = self.model, self._plan
        if model.classifier_activation is not keras.activations.linear:
            raise ValueError(
                "ExampleLog needs logits: leave out `classifier_activation`. "
                f"Received: {model.classifier_activation}"
            )
        with _backend.variable_scope(model):
            _, replicas = _backend.replica()
            if replicas > 1:
                raise ValueError(
                    "ExampleLog does not work under a tf.distribute strategy "
                    f"of several replicas. Received: {replicas} replicas"
                )
            self.metric = _StepLog(plan.steps_per_epoch, plan.batch_size)
        self._begun = False
        model.example_log = self
        # Its metric is updated where the step is traced.
        model.make_train_function(force=True)

    def on_epoch_begin(self, epoch, logs=None):
        if not self._begun:
            # Not when training begins: `Resume` may load a state then.
            self._begun = True
            shape = 2, self.params["epochs"], self._plan.n
            log = np.full(shape, np.nan, "float32")
            kept = self._log[:, :epoch]
            if kept.size:
                log[:, : kept.shape[1]] = kept
            self._log = log
        self._epoch = epoch
        self.metric.begin()

    def on_epoch_end(self, epoch, logs=None):
        self._collect()

    def _collect(self):
        values = ops.convert_to_numpy(self.metric.values)
        rows = self._plan.indices(self._epoch)
        self._log[:, self._epoch, rows] = np.moveaxis(values, 1, 0)


class _StepLog(keras.metrics.Metric):
    """Margin and correctness in each step of an epoch.

    A metric, as its variables are part of the step's state on every backend.
    It adds nothing to the logs.
    """

    def __init__(self, steps, batch_size):
        super().__init__(name="example_log")
        self.values = self.add_variable(
            (steps, 2, batch_size), "zeros", name="values"
        )
        self.step = self.add_variable((), "zeros", dtype=int, name="step")

    def update_state(self, y_true, y_pred, sample_weight=None):
        logits = ops.cast(ops.stop_gradient(y_pred), self.values.dtype)
        labels = flat_labels(y_true)
        is_label = ops.arange(logits.shape[-1])[None] == labels[:, None]
        own = ops.sum(ops.where(is_label, logits, 0.0), axis=-1)
        others = ops.where(is_label, -float("inf"), logits)
        margin = own - ops.logsumexp(others, axis=-1)
        correct = ops.argmax(logits, axis=-1) == labels
        row = ops.stack([margin, ops.cast(correct, logits.dtype)])
        self.values.assign(
            ops.scatter_update(
                self.values, ops.reshape(self.step, (1, 1)), row[None]
            )
        )
        self.step.assign(self.step + 1)

    def begin(self):
        """Begins an epoch, which may end early."""
        self.values.assign(ops.full(self.values.shape, float("nan")))
        self.step.assign(0)

    def reset_state(self):
        """Nothing: any `evaluate` within the epoch resets metrics."""

    def result(self):
        return {}
