"""The net and its training against NAVIER-STOKED in plain PyTorch."""

import keras
import numpy as np
import pytest
from helpers import (
    assert_equal,
    floats,
    for_torch,
    give,
    numbers_in,
    numbers_of,
    pixels,
    restored,
)

from keras_davidnet import NavierStoked, recipes

torch = pytest.importorskip("torch", reason="PyTorch is what we compare with")
from plain import pytorch_cifar100 as plain  # noqa: E402

# Pixels of 0..255, minus 127.5, over 64: exact in float32.
MEAN, STD = (0.5,) * 3, (64 / 255,) * 3
BATCH, STEPS_PER_EPOCH, EPOCHS = 24, 8, 2.5
SMALL = {"widths": (16, 12, 14), "inner_widths": (6, 10, 11)}


class BatchNorm(torch.nn.BatchNorm2d):
    """The moving variance is the biased one, as Keras's."""

    def forward(self, x):
        old = (1 - self.momentum) * self.running_var
        outputs = super().forward(x)
        if self.training:
            n = x.numel() / x.shape[1]
            new = self.running_var - old
            # Another tensor: the gradient looks at the first.
            self.running_var = old + (n - 1) / n * new
        return outputs


def both_nets(rng, input_shape, num_classes=100, **widths):
    """Both nets with the same random numbers, the whitening included."""
    ours = NavierStoked(
        num_classes=num_classes,
        mean=MEAN,
        std=STD,
        augmentation=None,
        input_shape=input_shape,
        **widths,
    )
    ours.adapt(pixels(rng, 100, 16, 16))
    torch.manual_seed(0)
    theirs = plain.Net(num_classes=num_classes, norm=BatchNorm, **widths)
    torch.nn.init.normal_(theirs.whiten.bias, std=0.3)
    for module in theirs.modules():
        if isinstance(module, BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    theirs.to(getattr(torch, keras.config.floatx()))
    plain.whiten(theirs, for_torch(pixels(rng, 100, 16, 16)))
    # Statistics near those of images: far from them all logits are alike.
    with torch.no_grad():
        for _ in range(3):
            theirs(for_torch(pixels(rng, 32, 25, 25)))
    give(ours, numbers_of(theirs))
    return ours, theirs


@pytest.mark.parametrize(
    "height, width, widths",
    [
        pytest.param(32, 32, {}, marks=pytest.mark.slow),
        (33, 47, SMALL),
        (9, 9, SMALL),
    ],
)
def test_logits(rng, height, width, widths):
    ours, theirs = both_nets(rng, (height, width, 3), **widths)
    images = pixels(rng, 16, height, width)
    for training in (False, True):
        with torch.no_grad():
            expected = theirs.train(training)(for_torch(images)).numpy()
        logits = keras.ops.convert_to_numpy(ours(images, training=training))
        assert_equal({"logits": logits}, {"logits": expected}, 1e-5)
    # The step in training moved the statistics.
    assert_equal(numbers_in(ours), numbers_of(theirs), 1e-5)


def test_sizes_of_the_published_net():
    ours, theirs = NavierStoked(), plain.Net()
    numbers = {n: a.shape for n, a in numbers_of(theirs).items()}
    assert {n: a.shape for n, a in numbers_in(ours).items()} == numbers
    assert sum(p.numel() for p in theirs.parameters()) == 8_608_312
    # They start alike, where that is not by chance.
    for name, array in numbers_in(ours).items():
        expected = numbers_of(theirs)[name]
        if "conv" in name:
            kept = min(array.shape[2:])
            array, expected = array[..., :kept], expected[..., :kept]
        if name not in ("linear/kernel", "whiten/kernel"):
            np.testing.assert_array_equal(array, expected, err_msg=name)


@pytest.mark.slow
def test_twenty_steps(rng, monkeypatch):
    """Of the recipe, but for the order of the images and their crops."""
    monkeypatch.setattr(plain, "BATCH", BATCH)
    monkeypatch.setattr(plain, "normalize", for_torch)
    monkeypatch.setattr(plain, "crop_and_flip", lambda x, *_: x)
    monkeypatch.setattr(torch, "randperm", torch.arange)
    # Rounding of 32 bits, in which some backends scale images, would grow.
    monkeypatch.setattr(plain, "SIZES", {})
    # The program's rate is for 1,024 images, and the recipe's follows.
    recipe = recipes.get("cifar100_75").replace(
        epochs=EPOCHS,
        batch_size=BATCH,
        sgd_learning_rate=1.38 * 1024 / BATCH,
    )
    # Of 5 pixels in the last group.  Of 4, those that the 2x2 kernels reach
    # beyond are zeros at first, and may be equal maxima, whose gradient is
    # not defined.
    n, height, width = STEPS_PER_EPOCH * BATCH, 21, 23
    images, labels = pixels(rng, n, height, width), rng.integers(0, 5, n)
    # Some classes can be told apart.
    images[labels < 3, :4] //= 2
    with floats("float64"):
        ours, theirs = both_nets(
            rng, (height, width, 3), num_classes=5, **SMALL
        )
        before = numbers_of(theirs)
        ours.compile(recipe.optimizer(STEPS_PER_EPOCH))
        ours.fit(
            images,
            labels,
            batch_size=BATCH,
            epochs=recipe.epochs,
            shuffle=False,
            verbose=0,
        )
        images, labels = torch.tensor(images), torch.tensor(labels)
        assert len(list(plain.train(theirs, images, labels, EPOCHS))) == 20
        after = numbers_of(theirs)
        # All but the whitening's kernel moved.
        for name, array in after.items():
            moved = np.abs(array - before[name]).max()
            if name != "whiten/kernel":
                assert moved > 1e-3 * np.abs(array).max(), name
        assert_equal(numbers_in(ours), after, 1e-4)


def test_whitening(rng):
    images = pixels(rng, 100, 17, 19)
    ours = NavierStoked(mean=MEAN, std=STD, input_shape=(17, 19, 3), **SMALL)
    ours.adapt(images)
    theirs = plain.Net(**SMALL)
    plain.whiten(theirs, for_torch(images))
    found = numbers_in(ours)["whiten/kernel"].reshape(12, 1, 24)
    expected = numbers_of(theirs)["whiten/kernel"].reshape(12, 24, 1)
    # Their order, and which is the negative of which, mean nothing.
    distance = np.abs(found - expected).max(0)
    assert set(distance.argmin(0)) == set(range(24))
    assert distance.min(0).max() < 1e-4 * np.abs(expected).max()


def test_the_recipes_rates():
    grouped = recipes.get("cifar100_75").optimizer(48)
    grouped.build(NavierStoked().trainable_variables)
    peaks = {"others": 1.38, "head": 1.38, "filters": 0.18}
    trained = {}
    for inner in grouped.optimizers:
        trained[inner.name] = len(inner._trainable_variables)
        for step in (0, 1, 60, 104, 105, 106, 300, 419):
            np.testing.assert_allclose(
                float(inner._learning_rate(step)),
                peaks[inner.name] * plain.factor_at(step, 420),
                rtol=1e-5,
            )
    # Two for each of nine normalizations, and the whitening's bias.
    assert trained == {"others": 19, "head": 1, "filters": 9}
    assert grouped.groups["(.*/)?linear/kernel"].coupled_weight_decay == 5e-4
    assert not grouped.default.coupled_weight_decay


def test_the_recipes_sizes(rng, monkeypatch):
    """Those of the plain program, at each of the 420 steps."""
    recipe = recipes.get("cifar100_75")
    (resizing,) = recipe.callbacks()
    found = [
        max(
            (first, size)
            for first, size in resizing.sizes.items()
            if first <= step / 48
        )[1]
        for step in range(420)
    ]
    images = torch.zeros(1, 3, 32, 32)
    expected = [
        len(plain.scaled(images, step / 420)[0, 0]) for step in range(420)
    ]
    assert found == expected


@pytest.mark.parametrize("width", [(4, 5), (4, 5, 0), "64"])
def test_bad_widths(width):
    for name in ("widths", "inner_widths"):
        with pytest.raises(ValueError, match=f"Received: {name}="):
            NavierStoked(**{name: width})


def test_config_round_trip():
    arguments = {
        "num_classes": 7,
        "widths": (4, 5, 6),
        "inner_widths": (3, 2, 4),
        "input_shape": (None, 40, 2),
        "mean": (0.1, 0.2),
        "std": (0.3, 0.4),
        "logit_scale": 1 / 9,
        "views": "mirror",
        "name": "net",
    }
    model = NavierStoked(**arguments)
    net = restored(model, arguments)
    shapes = [[tuple(w.shape) for w in m.weights] for m in (model, net)]
    assert shapes[0] == shapes[1]
