"""Pretrained models: `list()` names them, `load(name)` loads one."""

import builtins
import hashlib
import json
import os
import pathlib

import keras

_FOLDER = pathlib.Path(__file__).parent


def list() -> builtins.list[str]:
    """The names of the trained nets: recipe and data."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def info(name: str) -> dict:
    """How a net was trained and how good it is.

    Returns:
        A dict with: recipe, data set, command and seed of the run; test
        accuracy in [0, 1] for each kind of test-time augmentation, at the end
        of training and for the file in float32; versions, hardware and date;
        the SHA-256 of the file; the class names.

    Raises:
        ValueError: If there is no net of that name.
    """
    if name not in list():
        raise ValueError(
            f"There must be a trained net of this name, one of {list()}, or a "
            f"folder to load. Received: {name!r}"
        )
    return json.loads((_FOLDER / f"{name}.json").read_text())


def load(preset: str | os.PathLike) -> keras.Model:
    """A trained net, ready to predict.

    The package's own nets take raw images in 0..255, average the views of
    their recipe, and return logits.

    Args:
        preset: One of `list()`; or a folder that `save_to_preset` wrote; or
            `"hf://user/model"`, such a folder at Hugging Face.

    Returns:
        The net, not compiled; one of `list()` is in float32.

    Raises:
        ValueError: If there is no such net, or its file is damaged.

    Example:

    ```python
    model = presets.load("airbench94_muon_cifar10")
    classes = model.predict(x_test).argmax(1)
    ```
    """
    if str(preset) not in list() and (
        os.path.isdir(preset) or str(preset).startswith("hf://")
    ):
        return keras.saving.load_model(preset, compile=False)
    trained = info(str(preset))
    file = _FOLDER / f"{preset}.keras"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    if sha256 != trained["sha256"]:
        raise ValueError(
            "The file of a trained net must be as it was published: install "
            f"keras_davidnet again. Received: {file} with SHA-256 {sha256}"
        )
    stored = keras.saving.load_model(file, compile=False)
    # The larger nets are stored in float16, the first without class names.
    return stored.copy_with(dtype="float32", class_names=trained["class_names"])


CARD = """\
---
library_name: keras
pipeline_tag: image-classification
tags: [keras_davidnet]
---

# {net.name}

A `{kind}` of the Python package keras_davidnet, {weights:,} weights. It takes
raw images of height, width and channels {net.image_shape}, in 0..255, and
returns {outputs}.

```python
import keras
import keras_davidnet

model = keras.saving.load_model("FOLDER")
```
"""


def model_card(net: keras.Model) -> str:
    """What `save_to_preset` says of a net, in Markdown."""
    outputs = "the logits"
    if net.classifier_activation is not keras.activations.linear:
        outputs = f"the outputs ({net.classifier_activation.__name__})"
    outputs += f" of {net.num_classes} classes"
    if net.class_names:
        outputs += ": " + ", ".join(net.class_names)
    if not net.include_top:
        outputs = "its feature map"
    return CARD.format(
        net=net,
        kind=type(net).__name__,
        weights=net.count_params(),
        outputs=outputs,
    )
