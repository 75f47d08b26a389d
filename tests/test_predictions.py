"""The names of the classes: in the net, its files, and its predictions."""

import keras
import numpy as np
import pytest

from keras_davidnet import (
    Airbench,
    DavidNet,
    decode_predictions,
    presets,
    recipes,
)

NAMES = ["cat", "dog", "fish"]


def small(**arguments):
    arguments = {"num_classes": 3, "class_names": NAMES} | arguments
    return DavidNet(width=1, input_shape=(8, 8, 3), **arguments)


def test_scores_are_the_softmax(rng):
    logits = rng.normal(size=(4, 3))
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for top in (1, 2, 5):
        decoded = decode_predictions(logits, NAMES, top)
        for row, expected in zip(decoded, softmax, strict=True):
            order = np.argsort(expected)[::-1][:top]
            assert [name for name, _ in row] == [NAMES[i] for i in order]
            scores = [score for _, score in row]
            np.testing.assert_allclose(scores, expected[order], rtol=1e-5)


def test_takes_tensors():
    logits = keras.ops.array([[0.0, 2.0, 1.0]])
    ((name, _), *_) = decode_predictions(logits, np.array(NAMES))[0]
    assert name == "dog" and type(name) is str


def test_the_names_are_saved(tmp_path):
    model = small()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert list(loaded.class_names) == NAMES
    assert small(class_names=None).class_names is None


def test_probabilities_are_taken_as_they_are(rng):
    probabilities = rng.dirichlet(np.ones(3), 4).astype("float32")
    for row, expected in zip(
        decode_predictions(probabilities, NAMES, 1), probabilities, strict=True
    ):
        assert row == [(NAMES[expected.argmax()], expected.max())]


def test_names_given_later_are_checked():
    model = small(class_names=None)
    with pytest.raises(ValueError, match=r"3 strings.*\['cat', 'dog'\]"):
        model.class_names = NAMES[:2]
    model.class_names = NAMES
    assert model.get_config()["class_names"] == tuple(NAMES)


def test_a_recipe_takes_them():
    recipe = recipes.get("davidnet").replace(num_classes=3, class_names=NAMES)
    assert list(recipe.replace(width=1).model().class_names) == NAMES


@pytest.mark.parametrize("name", presets.list())
def test_presets_have_them(name):
    model = recipes.load(name)
    assert model.class_names[0] in ("airplane", "apple")
    assert len(model.class_names) == model.num_classes
    changed = type(model).from_preset(name, label_smoothing=0)
    assert changed.class_names == model.class_names


def test_new_classes_have_other_names():
    def names(**changes):
        name = "airbench94_muon_cifar10"
        return Airbench.from_preset(name, **changes).class_names

    assert names(num_classes=3) is None
    assert list(names(num_classes=3, class_names=NAMES)) == NAMES


@pytest.mark.parametrize("names", ["cat", ["cat"], [1, 2, 3], {}, NAMES * 2])
def test_bad_names(names):
    with pytest.raises(ValueError, match="class_names.*3 strings.*Received"):
        small(class_names=names)
    with pytest.raises(ValueError, match="class_names.*3 strings.*Received"):
        decode_predictions(np.zeros((1, 3)), names)


def test_bad_predictions():
    with pytest.raises(ValueError, match="class_names.*Received.*None"):
        decode_predictions(np.zeros((1, 3)), None)
    with pytest.raises(ValueError, match="logits.*num_classes.*Received"):
        decode_predictions(np.zeros(3), NAMES)
    with pytest.raises(ValueError, match="top.*Received"):
        decode_predictions(np.zeros((1, 3)), NAMES, top=0)
    with pytest.raises(TypeError, match="logits.*array.*Received"):
        decode_predictions([[1, 2, 3]], NAMES)
