"""A folder of runs of one recipe, and what its nets say about images."""

import hashlib
import json
import operator
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_davidnet import evidence
from keras_davidnet._array_checks import as_array, check_labels
from keras_davidnet._checks import to_python
from keras_davidnet._files import atomic_write
from keras_davidnet.models import ImageClassifier

# A file of this name is written last: the run is whole.
RESULT = "run.json"


class Runs:
    """Runs of one recipe in a folder, as `Recipe.fit_many` leaves them.

    Needs neither the recipe nor the data.  One net is in memory at a time, and
    predictions stay on the disk.

    `runs[i]` is the net of a run, not compiled; `len(runs)` is their number.

    Args:
        folder: The folder.
        seeds: The seeds of the runs, in the order wanted; by default those of
            all finished runs, ascending.

    Attributes:
        seeds: The seeds.

    Raises:
        ValueError: If there are no such runs.

    Example:

    ```python
    recipe = recipes.get("cpu94")
    recipe.fit_many(
        x_train, y_train, seeds=range(16), subsets=0.5, folder="runs/half"
    )
    runs = recipes.Runs("runs/half")
    accuracy = runs.accuracy(x_test, y_test)  # (16,)
    margins = runs.margins(x_train, y_train)  # (16, n)
    trained_on = runs.masks  # (16, n)
    ```
    """

    def __init__(
        self, folder: str | os.PathLike, seeds: Sequence[int] | None = None
    ):
        self.folder = pathlib.Path(folder)
        finished = sorted(
            int(path.parent.name.removeprefix("seed-"))
            for path in self.folder.glob(f"seed-*/{RESULT}")
            if path.parent.name.removeprefix("seed-").isdecimal()
        )
        self.seeds = finished if seeds is None else [*map(to_python, seeds)]
        missing = sorted({*self.seeds} - {*finished})
        if missing or not self.seeds:
            raise ValueError(
                "`folder` must hold a finished run of each seed, and has those "
                f"of {finished}. Received: folder={str(folder)!r}, "
                f"seeds={seeds}"
            )

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, index: int) -> ImageClassifier:
        seed = self.seeds[operator.index(index)]
        path = run_folder(self.folder, seed) / "net.keras"
        net = keras.saving.load_model(path, compile=False)
        dtype = self._result(seed)["dtype"]
        if net.dtype_policy.name != dtype:
            # It was kept in float16.
            net = net.copy_with(dtype=dtype)
        return net

    def _result(self, seed):
        return json.loads((run_folder(self.folder, seed) / RESULT).read_text())

    @property
    def masks(self) -> np.ndarray:
        """Which images each net was trained on: booleans `(runs, n)`."""
        return np.stack([read_mask(self.folder, seed) for seed in self.seeds])

    @property
    def histories(self) -> list[dict]:
        """The history of each run, as `fit` returns it.

        `seconds` are those of each epoch.
        """
        return [self._result(seed)["history"] for seed in self.seeds]

    def predict(self, x: np.ndarray, views: str | None = "own") -> np.ndarray:
        """The outputs of each net, logits by default.

        They are kept in the folder: for the same runs, images and views they
        are computed once, and an interrupted computation is continued.

        Args:
            x: Raw images, `(n, height, width, channels)`.
            views: What a net averages over: `"own"` for the views of the
                recipe, or those that a net takes: None, `"mirror"` or
                `"mirror_translate"`.

        Returns:
            `(runs, n, num_classes)`, float32, memory-mapped from the disk.
        """
        net = self[0]
        x = net.check_arrays("x", x)
        if views != "own":
            net.views = views
        # A run that was trained again has another history.
        key = digest(x, json.dumps([net.views, self.seeds, self.histories]))
        path = self.folder / "predictions" / f"{key}.npy"
        unfinished = path.with_name(f"unfinished-{path.name}")
        if not path.exists():
            if not unfinished.exists():
                path.parent.mkdir(exist_ok=True)
                with atomic_write(unfinished) as begun:
                    outputs = np.lib.format.open_memmap(
                        begun,
                        "w+",
                        "float32",
                        (len(self), len(x), net.num_classes),
                    )
                    outputs[:] = np.nan
                    del outputs
            outputs = np.load(unfinished, mmap_mode="r+")
            for seed, rows in zip(self.seeds, outputs, strict=True):
                # The last image is written last.
                if np.isnan(rows[-1]).any():
                    net.load_weights(
                        run_folder(self.folder, seed) / "net.keras"
                    )
                    rows[:] = net.predict(x, batch_size=500, verbose=0)
                    outputs.flush()
            os.replace(unfinished, path)
        return np.load(path, mmap_mode="r")

    def margins(
        self, x: np.ndarray, y: np.ndarray, views: str | None = "own"
    ) -> np.ndarray:
        """By how much each net prefers the label to all other classes.

        The logit of the label minus the log-sum-exp of the others, which is
        `log(p / (1 - p))` of the label's probability `p`, without rounding to 0
        or 1.  Membership inference and data attribution use it.

        Args:
            x: Raw images, `(n, height, width, channels)`.
            y: Their labels, `(n,)` or `(n, 1)`.
            views: As for `predict`.

        Returns:
            `(runs, n)`, float32.
        """
        labels = self._check(x, y)
        logits = self.predict(x, views)
        rows = np.arange(len(labels))
        margins = np.empty(logits.shape[:2], "float32")
        for margin, one in zip(margins, logits, strict=True):
            others = one.astype("float64")
            others[rows, labels] = -np.inf
            margin[:] = one[rows, labels] - _log_sum_exp(others)
        return margins

    def accuracy(
        self, x: np.ndarray, y: np.ndarray, views: str | None = "own"
    ) -> np.ndarray:
        """The accuracy of each net, `(runs,)`, with arguments of `margins`."""
        labels = self._check(x, y)
        logits = self.predict(x, views)
        return np.array([(one.argmax(-1) == labels).mean() for one in logits])

    def summary(
        self,
        x: np.ndarray,
        y: np.ndarray,
        gate: float | None = None,
        views: str | None = "own",
    ) -> dict:
        """`evidence.summarize` of the accuracies, with a `gate` for the mean.

        Needs SciPy.
        """
        return evidence.summarize(self.accuracy(x, y, views), gate)

    def ensemble(self, x: np.ndarray, views: str | None = "own") -> np.ndarray:
        """The mean of the nets' probabilities, `(n, num_classes)`, float32."""
        self._check(x)
        logits = self.predict(x, views)
        mean = np.zeros(logits.shape[1:])
        for one in logits:
            one = one.astype("float64")
            mean += np.exp(one - _log_sum_exp(one)[:, None]) / len(self)
        return mean.astype("float32")

    def _check(self, x, y: Any = None) -> Any:
        """The flat labels, if the nets return logits of their classes."""
        net = self[0]
        if net.classifier_activation is not keras.activations.linear:
            raise ValueError(
                "The nets must return logits. Received: nets with "
                f"classifier_activation={net.classifier_activation.__name__!r}"
            )
        if y is None:
            return None
        y = as_array("y", y)
        check_labels("y", y, x, net.num_classes)
        return y.reshape(-1).astype("int64")


def _log_sum_exp(values):
    return np.logaddexp.reduce(values, axis=-1)


def run_folder(folder: pathlib.Path, seed: int) -> pathlib.Path:
    return folder / f"seed-{seed}"


def read_mask(folder: pathlib.Path, seed: int) -> np.ndarray:
    """Which images the run is trained on."""
    return np.load(run_folder(folder, seed) / "mask.npy")


def digest(*parts: np.ndarray | str) -> str:
    """A name for arrays and texts."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            found.update(part.encode())
        else:
            found.update(f"{part.dtype} {part.shape}".encode())
            found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()[:32]
