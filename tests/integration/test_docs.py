"""The Python blocks of README, the docs and the docstrings run.

The blocks of a page run in order, in one namespace that holds the public names
and small stand-ins for the data; training is cut short.  In Markdown three HTML
comments tell more: `<!-- not run: reason -->` before a block; `<!-- needs NAME
-->` before a block that runs where that package is installed; and

    <!-- hidden
    code that comes before the next block, such as data of another shape
    -->
"""

import functools
import importlib.util
import inspect
import os
import pathlib
import re
import textwrap

import keras
import numpy as np
import pytest
from helpers import write_folder

if keras.backend.backend() != "tensorflow":
    pytest.skip("the docs are run on one backend", allow_module_level=True)
for package in ("ai_edge_litert", "keras_tuner", "onnxruntime", "tf2onnx"):
    pytest.importorskip(package, reason="the extra `test`")

import keras_tuner  # noqa: E402

import keras_davidnet  # noqa: E402
import keras_davidnet.recipes.fit_many  # noqa: E402
import keras_davidnet.recipes.recipe  # noqa: E402
from keras_davidnet import (  # noqa: E402
    datasets,
    evidence,
    presets,
    recipes,
    tuning,
)

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(
    r"^<!-- not run: (?P<reason>[^\n]+) -->\n+```python\n.*?^```$"
    r"|^<!-- hidden\n(?P<hidden>.*?)^-->$"
    r"|(?:^<!-- needs (?P<package>\w+) -->\n+)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
BATCH, EPOCHS = 16, 2
pytestmark = pytest.mark.filterwarnings(
    # Of every Keras model that loads weights before it trains.
    "ignore:Skipping variable loading for optimizer",
    # As the runs end before the schedules do.
    "ignore:The learning rate's last knot",
    "ignore:When fit\\(\\) ends the net has its average",
    # Of KerasTuner and of Keras's exporters.
    "ignore:currentThread:DeprecationWarning",
    "ignore:getName:DeprecationWarning",
    "ignore:.*native_serialization:DeprecationWarning",
    "ignore:In the future `np.object`:FutureWarning",
    # Of MLflow and the packages that it needs.
    "ignore:The ``noload`` loader strategy",
)


def blocks(text):
    """The code of each block, on the lines where it is in the text."""
    for match in BLOCK.finditer(text):
        name = "hidden" if match["hidden"] else "code"
        package = match["package"]
        if match[name] and (not package or importlib.util.find_spec(package)):
            lines = text.count("\n", 0, match.start(name))
            yield "\n" * lines + textwrap.dedent(match[name])


def public():
    """The public objects by name, with the methods of classes."""
    for module in (keras_davidnet, datasets, evidence, recipes, tuning):
        for name, thing in vars(module).items():
            if (
                name.startswith("_")
                or not (inspect.isclass(thing) or inspect.isfunction(thing))
                or not thing.__module__.startswith("keras_davidnet")
                or "._" in thing.__module__
            ):
                continue
            yield name, thing
            if inspect.isclass(thing):
                for attribute, method in vars(thing).items():
                    if inspect.isfunction(method) and attribute[0] != "_":
                        yield f"{name}.{attribute}", method


# Not `inspect.getdoc`, which inherits Keras's.
DOCSTRINGS = {
    name: inspect.cleandoc(thing.__doc__)
    for name, thing in public()
    if "```python" in (thing.__doc__ or "")
}


@pytest.fixture
def short(monkeypatch, tmp_path):
    """Nets, batches, runs and searches are small; files go elsewhere."""
    monkeypatch.chdir(tmp_path)

    def cap(thing, function, **limits):
        """Sets upper limits on arguments of a function."""
        original = getattr(thing, function)
        signature = inspect.signature(original)

        @functools.wraps(original)
        def capped(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            for name, limit in limits.items():
                if name in bound.arguments:
                    given = bound.arguments[name]
                    bound.arguments[name] = min(given, limit)
            return original(*bound.args, **bound.kwargs)

        monkeypatch.setattr(thing, function, capped)

    cap(keras.Model, "fit", epochs=EPOCHS)
    for module in (datasets, keras_davidnet.recipes.recipe):
        cap(module, "make_dataset", batch_size=BATCH)
    for module in (datasets, keras_davidnet.recipes.fit_many):
        cap(module, "EpochPlan", batch_size=BATCH)
    monkeypatch.setattr(
        keras_davidnet.recipes.fit_many, "_check_seeds", lambda seeds: [1, 2]
    )
    cap(datasets, "Batches", batch_size=BATCH)
    search = keras_tuner.RandomSearch
    monkeypatch.setattr(
        keras_tuner,
        "RandomSearch",
        lambda *args, **kwargs: search(*args, **{**kwargs, "max_trials": 1}),
    )
    for net, width in (
        (keras_davidnet.DavidNet, 4),
        (keras_davidnet.WhitenedDavidNet, 4),
        (keras_davidnet.Airbench, (4, 8, 8)),
        (keras_davidnet.NavierStoked, (4, 8, 8)),
    ):
        # Up to the width or widths all arguments are positional.
        names = [*inspect.signature(net.__init__).parameters][1:]
        defaults = list(net.__init__.__defaults__)
        index = next(i for i, n in enumerate(names) if n.startswith("width"))
        defaults[index] = width
        monkeypatch.setattr(net.__init__, "__defaults__", tuple(defaults))


@pytest.fixture
def namespace(short, monkeypatch, tmp_path, rng):
    """What the blocks may use as given: names, arrays, a net."""

    def draw(n):
        return (
            rng.integers(0, 256, (n, 32, 32, 3), "uint8"),
            rng.integers(0, 10, n, "uint8"),
        )

    # 20 steps of two epochs, which the range test needs at least.
    train, test = draw(10 * BATCH), draw(BATCH)
    for name in ("load_cifar10", "load_cifar100"):
        monkeypatch.setattr(datasets, name, lambda *_: (train, test))
    for part in ("train", "test"):
        classes = {"rose": draw(BATCH)[0], "tulip": draw(BATCH)[0]}
        write_folder(tmp_path / "flowers" / part, classes)
    model = keras_davidnet.DavidNet()
    model.compile()
    stock_model = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    stock_model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return {
        "__name__": "docs",
        "keras": keras,
        "keras_tuner": keras_tuner,
        "np": np,
        "os": os,
        "datasets": datasets,
        "evidence": evidence,
        "presets": presets,
        "recipes": recipes,
        **{name: thing for name, thing in public() if "." not in name},
        "load_cifar10": datasets.load_cifar10,
        "load_cifar100": datasets.load_cifar100,
        **dict(zip(("x_train", "y_train"), train, strict=True)),
        **dict(zip(("x_test", "y_test"), test, strict=True)),
        **dict(zip(("x_valid", "y_valid"), test, strict=True)),
        "train_ds": datasets.make_dataset(*train, 16, training=True, seed=0),
        "test_ds": datasets.make_dataset(*test, 16),
        "images": rng.normal(size=(BATCH, 32, 32, 3)).astype("float32"),
        "model": model,
        "stock_model": stock_model,
    }


def run(text, where, namespace):
    for code in blocks(text):
        exec(compile(code, where, "exec"), namespace)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "```python" in page.read_text()],
    ids=lambda page: str(page.relative_to(ROOT)),
)
@pytest.mark.slow
def test_page(page, namespace):
    run(page.read_text(), str(page), namespace)


@pytest.mark.parametrize("name", DOCSTRINGS)
@pytest.mark.slow
def test_docstring(name, namespace):
    run(DOCSTRINGS[name], f"docstring of {name}", namespace)


def test_blocks_are_found():
    text = """
```python
a = 1
```
<!-- not run: it takes hours -->
```python
b = 2
```
<!-- hidden
c = 3
-->
    ```python
    d = 4
    ```
<!-- needs keras -->
```python
e = 5
```
<!-- needs a_package_that_nobody_has -->
```python
f = 6
```
"""
    assert [code.strip() for code in blocks(text)] == [
        "a = 1",
        "c = 3",
        "d = 4",
        "e = 5",
    ]
    assert next(blocks(text)) == "\n\na = 1\n"


def test_every_public_name_is_in_the_reference():
    reference = "".join(
        page.read_text() for page in ROOT.glob("docs/reference/*.md")
    )
    missing = [
        name
        for name, thing in public()
        if "." not in name and not re.search(rf"\b{name}\b", reference)
    ]
    assert not missing
