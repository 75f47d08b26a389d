"""Trained nets in the package: `names()` lists them, `load(name)` gives one."""

import hashlib
import json
import pathlib
import tempfile

import keras

_FOLDER = pathlib.Path(__file__).parent


def names() -> list[str]:
    """The names of the trained nets, which are those of their recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def facts(name: str) -> dict:
    """How a net was trained and how good it is.

    Returns:
        The command and seed of the run; its accuracy on CIFAR-10's 10,000 test
        images in [0, 1], by views; the same of the file in float32; versions,
        hardware and date; the file's SHA-256.

    Raises:
        ValueError: If there is no net of that name.
    """
    if name not in names():
        raise ValueError(
            f"`name` must be that of a trained net, one of {names()}. "
            f"Received: name={name!r}"
        )
    return json.loads((_FOLDER / f"{name}.json").read_text())


def load(name: str) -> keras.Model:
    """A trained net of this package, ready to predict.

    It takes raw images in 0..255, averages the views of its recipe, and
    returns logits.

    Args:
        name: One of `names()`.

    Returns:
        The net in float32, not compiled.

    Raises:
        ValueError: If there is no net of that name, or a file is damaged.

    Example:

    ```python
    model = recipes.load("airbench94_muon")
    classes = model.predict(x_test).argmax(1)
    ```
    """
    expected = facts(name)["sha256"]
    # A file over 10 MB is stored in pieces.
    pieces = sorted(_FOLDER.glob(f"{name}.keras*"))
    content = b"".join(piece.read_bytes() for piece in pieces)
    received = hashlib.sha256(content).hexdigest()
    if received != expected:
        raise ValueError(
            "The file of a trained net is damaged; install the package anew. "
            f"Expected: SHA-256 {expected}. Received: {received} "
            f"({', '.join(map(str, pieces))})"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"{name}.keras")
        path.write_bytes(content)
        model = keras.saving.load_model(path, compile=False)
    if model.dtype_policy.name == "float32":
        return model
    # What is larger is stored in float16.
    net = type(model).from_config({**model.get_config(), "dtype": "float32"})
    net.set_weights(model.get_weights())
    return net
