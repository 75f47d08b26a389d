"""Trained nets in the package: `list()` names them, `load(name)` gives one."""

import builtins
import json
import pathlib

import keras

_FOLDER = pathlib.Path(__file__).parent


def list() -> builtins.list[str]:
    """The names of the trained nets: recipe and data."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def info(name: str) -> dict:
    """How a net was trained and how good it is.

    Returns:
        Recipe, command and seed of the run; its accuracy on the test images of
        its data in [0, 1], by views; the same of the file in float32; versions,
        hardware and date; the file's SHA-256; the names of the classes.

    Raises:
        ValueError: If there is no net of that name.
    """
    if name not in list():
        raise ValueError(
            f"`name` must be a trained net, one of {list()}. "
            f"Received: name={name!r}"
        )
    return json.loads((_FOLDER / f"{name}.json").read_text())


def load(name: str) -> keras.Model:
    """A trained net of this package, ready to predict.

    It takes raw images in 0..255, averages the views of its recipe, and
    returns logits.

    Args:
        name: One of `list()`.

    Returns:
        The net in float32, not compiled.

    Raises:
        ValueError: If there is no net of that name.

    Example:

    ```python
    model = presets.load("airbench94_muon_cifar10")
    classes = model.predict(x_test).argmax(1)
    ```
    """
    # The files of the first presets have no names of the classes.
    class_names = info(name).get("class_names")
    model = keras.saving.load_model(_FOLDER / f"{name}.keras", compile=False)
    if model.dtype_policy.name != "float32":
        # The larger nets are stored in float16.
        stored = model
        config = {**stored.get_config(), "dtype": "float32"}
        model = type(stored).from_config(config)
        model.set_weights(stored.get_weights())
    if class_names:
        model.class_names = tuple(class_names)
    return model
