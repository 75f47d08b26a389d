"""Errors that end a search, where KerasTuner would begin the next trial."""

import functools
from typing import Any

import keras_tuner
from keras_tuner.errors import (
    FatalError,
    FatalRuntimeError,
    FatalTypeError,
    FatalValueError,
)

from keras_davidnet.callbacks import Resume


def fatal_on_error(function):
    """Ends the search on a ValueError or TypeError of a hypermodel's method.

    Another error ends it if it leaves a search without one good trial.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except FatalError:
            raise
        except ValueError as error:
            raise FatalValueError(str(error)) from error
        except TypeError as error:
            raise FatalTypeError(str(error)) from error
        except Exception as error:
            if _all_trials_failed(kwargs.get("callbacks") or ()):
                raise FatalRuntimeError(
                    f"All trials of the search failed, the last one: {error}"
                ) from error
            raise

    return wrapper


def _all_trials_failed(callbacks):
    for callback in callbacks:
        # KerasTuner's own callback; a worker's oracle is in another process.
        oracle: Any = getattr(getattr(callback, "tuner", None), "oracle", None)
        trials = getattr(oracle, "trials", {}).values()
        if trials and len(trials) == oracle.max_trials:
            return all(trial.status != "COMPLETED" for trial in trials)
    return False


def check_arguments(y, shuffle, sample_weight, callbacks):
    if y is None:
        raise TypeError(
            "A search needs arrays of images and labels, of which each trial "
            "makes its batches. Received: y=None"
        )
    if not shuffle:
        raise ValueError(
            "The trials of a search always shuffle. "
            f"Received: shuffle={shuffle}"
        )
    if sample_weight is not None:
        raise ValueError(
            "The trials of a search take no `sample_weight`; `class_weight` "
            f"they do. Received: sample_weight={type(sample_weight).__name__}"
        )
    if any(isinstance(callback, Resume) for callback in callbacks):
        raise ValueError(
            "`Resume` belongs to a single run, and its file would pass from "
            "one trial to the next; a search continues by itself when it is "
            "started again. Received: callbacks with Resume"
        )


def check_objective(model, batch, validation_data, callbacks):
    # KerasTuner looks for it after the training only, and takes its absence for
    # a failed trial. Its callback for the best weights has it before.
    x, y = (array[:1] for array in batch)
    logs = set(_names(model.compute_metrics(x, y, model(x))))
    if validation_data is not None:
        logs |= {f"val_{name}" for name in logs}
    for callback in callbacks:
        objective: Any = getattr(callback, "objective", None)
        if isinstance(
            objective, keras_tuner.Objective
        ) and not objective.has_value(logs):
            raise FatalValueError(
                f"`objective` must be one of {sorted(logs)}, which `fit` "
                "reports; those of validation need `validation_data`. "
                f"Received: objective={objective}"
            )


def _names(logs):
    # A tuner's `loss` or `optimizer` alone nests the metrics of the model.
    for name, value in logs.items():
        if isinstance(value, dict):
            yield from _names(value)
        else:
            yield name
