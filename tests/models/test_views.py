"""The views averaged at test time, against both nets in plain PyTorch."""

import keras
import numpy as np
import pytest

from keras_davidnet import DavidNet

torch = pytest.importorskip("torch", reason="PyTorch is what we compare with")
import test_airbench  # noqa: E402
import test_davidnet_against_pytorch  # noqa: E402
from plain import numpy_airbench  # noqa: E402

VIEWS = pytest.mark.parametrize("views", [None, "mirror", "mirror_translate"])


def averaged(reference, images, for_torch, views):
    reference.eval()
    with torch.no_grad():
        return sum(
            share * reference(for_torch(np.ascontiguousarray(view))).numpy()
            for share, view in numpy_airbench.views(images, views)
        )


def as_floats(images):
    return torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2)


def both_nets(kind, rng, views):
    if kind == "airbench":
        return *test_airbench.both_nets(
            rng, input_shape=(13, 17, 3), views=views
        ), test_airbench.for_torch
    plain, reference = test_davidnet_against_pytorch.both_nets(13, 17, 4)
    model = DavidNet.from_config({**plain.get_config(), "views": views})
    model.set_weights(plain.get_weights())
    return model, reference, as_floats


@VIEWS
@pytest.mark.parametrize("kind", ["airbench", "davidnet"])
def test_logits_are_averaged(rng, kind, views):
    model, reference, for_torch = both_nets(kind, rng, views)
    images = test_airbench.pixels(rng, 7, 13, 17)
    expected = averaged(reference, images, for_torch, views)
    tolerance = {"rtol": 0, "atol": 1e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(
        model.predict(images, batch_size=4, verbose=0), expected, **tolerance
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(images)), expected, **tolerance
    )
    if views:
        # Or the views would show nothing.
        plain = averaged(reference, images, for_torch, None)
        assert np.abs(plain - expected).max() > 100 * tolerance["atol"]


@VIEWS
def test_training_sees_one_view(rng, views):
    model, reference, for_torch = both_nets("airbench", rng, views)
    images = test_airbench.pixels(rng, 7, 13, 17)
    with torch.no_grad():
        expected = reference.train()(for_torch(images)).numpy()
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(images, training=True)),
        expected,
        rtol=0,
        atol=1e-5 * np.abs(expected).max(),
    )


def test_evaluation_is_of_the_average(rng):
    model, reference, for_torch = both_nets("airbench", rng, "mirror_translate")
    images = test_airbench.pixels(rng, 40, 13, 17)
    labels = rng.integers(0, 10, 40)
    logits = averaged(reference, images, for_torch, "mirror_translate")
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels)
    ).item()
    model.compile()
    scores = model.evaluate(images, labels, verbose=0)
    np.testing.assert_allclose(scores[0], loss, rtol=1e-5)
    np.testing.assert_allclose(scores[1], (logits.argmax(1) == labels).mean())


def test_mirror_takes_images_of_any_size(rng):
    model, reference = test_airbench.both_nets(
        rng, input_shape=(None, None, 3), views="mirror"
    )
    for size in ((13, 17), (20, 9)):
        images = test_airbench.pixels(rng, 3, *size)
        expected = averaged(
            reference, images, test_airbench.for_torch, "mirror"
        )
        np.testing.assert_allclose(
            model.predict(images, verbose=0),
            expected,
            rtol=0,
            atol=1e-5 * np.abs(expected).max(),
        )
