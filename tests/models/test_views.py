"""The views averaged at test time, against both nets in plain PyTorch."""

import keras
import numpy as np
import pytest

from keras_davidnet import Airbench, DavidNet

torch = pytest.importorskip("torch", reason="PyTorch is what we compare with")
import test_against_pytorch  # noqa: E402
import test_airbench  # noqa: E402
from plain import pytorch_airbench  # noqa: E402

VIEWS = pytest.mark.parametrize("views", [None, "mirror", "mirror_translate"])


def averaged(theirs, images, for_torch, views):
    theirs.eval()
    with torch.no_grad():
        return sum(
            share * theirs(for_torch(np.ascontiguousarray(view))).numpy()
            for share, view in pytorch_airbench.views(images, views)
        )


def as_floats(images):
    return torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2)


def both_nets(kind, rng, views):
    if kind == "airbench":
        return *test_airbench.both_nets(
            rng, input_shape=(13, 17, 3), views=views
        ), test_airbench.for_torch
    plain, theirs = test_against_pytorch.both_nets(13, 17, 4)
    ours = DavidNet.from_config({**plain.get_config(), "views": views})
    ours.set_weights(plain.get_weights())
    return ours, theirs, as_floats


@VIEWS
@pytest.mark.parametrize("kind", ["airbench", "davidnet"])
def test_logits_are_averaged(rng, kind, views):
    ours, theirs, for_torch = both_nets(kind, rng, views)
    images = test_airbench.pixels(rng, 7, 13, 17)
    expected = averaged(theirs, images, for_torch, views)
    tolerance = {"rtol": 0, "atol": 1e-5 * np.abs(expected).max()}
    np.testing.assert_allclose(
        ours.predict(images, batch_size=4, verbose=0), expected, **tolerance
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours(images)), expected, **tolerance
    )
    if views:
        # Or the views would show nothing.
        plain = averaged(theirs, images, for_torch, None)
        assert np.abs(plain - expected).max() > 100 * tolerance["atol"]


@VIEWS
def test_training_sees_one_view(rng, views):
    ours, theirs, for_torch = both_nets("airbench", rng, views)
    images = test_airbench.pixels(rng, 7, 13, 17)
    with torch.no_grad():
        expected = theirs.train()(for_torch(images)).numpy()
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(ours(images, training=True)),
        expected,
        rtol=0,
        atol=1e-5 * np.abs(expected).max(),
    )


def test_evaluation_is_of_the_average(rng):
    ours, theirs, for_torch = both_nets("airbench", rng, "mirror_translate")
    images = test_airbench.pixels(rng, 40, 13, 17)
    labels = rng.integers(0, 10, 40)
    logits = averaged(theirs, images, for_torch, "mirror_translate")
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(labels)
    ).item()
    ours.compile()
    scores = ours.evaluate(images, labels, verbose=0)
    np.testing.assert_allclose(scores[0], loss, rtol=1e-5)
    np.testing.assert_allclose(scores[1], (logits.argmax(1) == labels).mean())


def test_mirror_takes_images_of_any_size(rng):
    ours, theirs = test_airbench.both_nets(
        rng, input_shape=(None, None, 3), views="mirror"
    )
    for size in ((13, 17), (20, 9)):
        images = test_airbench.pixels(rng, 3, *size)
        expected = averaged(theirs, images, test_airbench.for_torch, "mirror")
        np.testing.assert_allclose(
            ours.predict(images, verbose=0),
            expected,
            rtol=0,
            atol=1e-5 * np.abs(expected).max(),
        )


@pytest.mark.parametrize("net", [Airbench, DavidNet])
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"views": "six"}, "views='six'"),
        ({"views": 2}, "views=2"),
        ({"views": True}, "views=True"),
        (
            {"views": "mirror_translate", "input_shape": (None, None, 3)},
            r"input_shape=\(None, None, 3\)",
        ),
        (
            {"views": "mirror_translate", "input_shape": (32, None, 3)},
            r"input_shape=\(32, None, 3\)",
        ),
        ({"views": "mirror", "include_top": False}, "include_top=False"),
    ],
)
def test_bad_views(net, arguments, message):
    with pytest.raises(ValueError, match=f"Received: .*{message}"):
        net(**arguments)
