"""What a run is made of, in JSON, and how it differs from another's."""

import json
import re
import reprlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

# Keras numbers the names that it makes up for layers, and weights have them in
# their paths.  How many it has made differs from program to program.
_NUMBER = re.compile(r"_\d+(?=[/_]|$)")
_HOLDS_NAMES = re.compile(
    r"(.*\.)?(name|variables|keras_history|input_layers|output_layers)(\.\d+)*"
)


def class_and_config(part: Any) -> dict:
    """Class and config of a model or an optimizer."""
    name = keras.saving.get_registered_name(type(part))
    try:
        config = keras.saving.serialize_keras_object(part.get_config())
        config = json.loads(json.dumps(config))
    # A subclass need not be able to return its arguments.
    except (NotImplementedError, TypeError, ValueError):
        config = None
    return {"class": name, "config": config}


def flatten(
    value: Any, skip: Callable[[Any, Any], bool] | None = None, name: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yields the dotted name and the value of each leaf, except seeds.

    Some layers draw their seed when a program makes them.

    Args:
        value: Nested dicts and lists.
        skip: Whether to leave out an item, by its key and value.
        name: That of `value`.
    """
    if isinstance(value, str) and _HOLDS_NAMES.fullmatch(name):
        value = _NUMBER.sub("", value)
    # The program's name in workers that it starts; in itself Keras has None.
    if value == "__mp_main__":
        value = None
    if not isinstance(value, dict | list):
        yield name, value
        return
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if key != "seed" and (skip is None or not skip(key, item)):
            yield from flatten(
                item, skip, f"{name}.{key}" if name else str(key)
            )


def differences(saved: dict, new: dict) -> list[str]:
    """What differs between two flat dicts: `["lr: 1, not 2"]`."""
    return [
        f"{key}: {reprlib.repr(saved.get(key))}, "
        f"not {reprlib.repr(new.get(key))}"
        for key in {**saved, **new}
        if saved.get(key) != new.get(key)
    ]
