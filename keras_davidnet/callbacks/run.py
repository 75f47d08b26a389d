"""What names a run, so that no other takes its state for its own."""

import json
import re
import reprlib
import zlib
from typing import Any

import keras
import numpy as np

from keras_davidnet._array_checks import as_array
from keras_davidnet.datasets.batches import Batches
from keras_davidnet.optimizers.grouped import unwrap

# Keras numbers the names that it makes up, anew in every program.
_NUMBER = re.compile(r"_\d+(?=[/_]|$)")


def describe_run(model: keras.Model, variables: list) -> dict:
    """Model, precision and hyperparameters of a compiled model, for JSON.

    Two programs that train alike give the same, whatever their seed is and
    however often they built the model.  The value of the learning rate is none
    of it: callbacks set it.
    """
    # The optimizer proper may be inside of a loss scaler or an average.
    *_, optimizer = unwrap(model.optimizer)
    run = _plain(
        {
            "model": _describe(model),
            "precision": model.dtype_policy.name,
            "optimizer": _describe(model.optimizer),
            # A callback may have set it.
            "weight_decay": getattr(optimizer, "weight_decay", None),
            "variables": [
                [
                    variable.path,
                    list(variable.shape),
                    keras.backend.standardize_dtype(variable.dtype),
                ]
                for variable in variables
            ],
        }
    )
    # The rates of a default compile() follow the length of each `fit`.
    return _without_rates(run) if getattr(model, "own_rates", False) else run


def describe_data(x, y) -> dict | None:
    """Shape and checksum of images and labels; None for other streams."""
    if isinstance(x, Batches):
        x, y = x.images, x.labels
    if not (hasattr(x, "shape") and hasattr(y, "shape")):
        return None
    checksum = 0
    for array in (x, y):
        array = np.ascontiguousarray(as_array("x", array))
        pixels: Any = array.view("uint8")
        checksum = zlib.crc32(pixels, checksum)
    return {"shape": list(x.shape), "checksum": checksum}


def differences(saved, current, name: str = "") -> list[str]:
    """Where two descriptions differ: `["model.config.width: 1, not 2"]`."""
    if isinstance(saved, dict) and isinstance(current, dict):
        keys = sorted(saved.keys() | current.keys())
        pairs = [(key, saved.get(key), current.get(key)) for key in keys]
    elif (
        isinstance(saved, list)
        and isinstance(current, list)
        and len(saved) == len(current)
    ):
        pairs = zip(range(len(current)), saved, current, strict=True)
    elif saved == current:
        return []
    else:
        return [f"{name}: {reprlib.repr(saved)}, not {reprlib.repr(current)}"]
    return [
        text
        for key, a, b in pairs
        for text in differences(a, b, f"{name}.{key}" if name else str(key))
    ]


def _without_rates(value):
    if isinstance(value, dict):
        return {
            key: _without_rates(item)
            for key, item in value.items()
            if key != "learning_rate"
        }
    return value


def _describe(part):
    name = keras.saving.get_registered_name(type(part))
    try:
        config = keras.saving.serialize_keras_object(part.get_config())
        config = json.loads(json.dumps(config))
    # A subclass need not be able to tell its arguments.
    except (NotImplementedError, TypeError, ValueError):
        config = None
    return {"class": name, "config": config}


def _plain(value) -> Any:
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            # Some of Keras's layers draw a seed if they are given none.
            if key != "seed"
            and not (key == "learning_rate" and isinstance(item, int | float))
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _NUMBER.sub("", value) if isinstance(value, str) else value
