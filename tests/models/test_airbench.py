"""The net and its training against an airbench in plain PyTorch."""

import contextlib

import keras
import numpy as np
import pytest
from helpers import (
    assert_equal,
    filters_first,
    filters_last,
    floats,
    for_torch,
    give,
    normalized,
    numbers_in,
    numbers_of,
    pixels,
    restored,
)

from keras_davidnet import Airbench, optimizers, recipes

torch = pytest.importorskip("torch", reason="PyTorch is what we compare with")
from plain import (  # noqa: E402
    numpy_airbench,
    pytorch_airbench,
    pytorch_airbench94 as plain_airbench,  # noqa: E402
    pytorch_airbench96 as plain_airbench96,  # noqa: E402
)

# Pixels of 0..255, minus 127.5, over 64: exact in float32.
MEAN, STD = (0.5,) * 3, (64 / 255,) * 3
BATCH, STEPS_PER_EPOCH, EPOCHS, BIAS_EPOCHS = 24, 4, 5, 3
STEPS = STEPS_PER_EPOCH * EPOCHS
SMALL = {"widths": (16, 12, 14), "input_shape": (17, 19, 3)}


def both_nets(rng, **arguments):
    """Both nets with the same random numbers, the whitening included."""
    arguments = {"widths": (8, 12, 10), "residual": False} | arguments
    ours = Airbench(mean=MEAN, std=STD, augmentation=None, **arguments)
    ours.adapt(pixels(rng, 100, 16, 16))
    torch.manual_seed(0)
    theirs = pytorch_airbench.Airbench(
        **{
            k: v
            for k, v in arguments.items()
            if k not in ("input_shape", "views", "label_smoothing")
        }
    )
    torch.nn.init.normal_(theirs.whiten.bias, std=0.3)
    for module in theirs.modules():
        if isinstance(module, pytorch_airbench.BatchNorm):
            torch.nn.init.normal_(module.bias, std=0.2)
    theirs.to(getattr(torch, keras.config.floatx()))
    # Statistics near those of images: far from them all logits are alike.
    with torch.no_grad():
        for _ in range(3):
            theirs(for_torch(pixels(rng, 32, 25, 25)))
    give(ours, numbers_of(theirs))
    return ours, theirs


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(
    "height, width, widths",
    [
        pytest.param(32, 32, (64, 256, 256), marks=pytest.mark.slow),
        (33, 47, (5, 6, 7)),
        (9, 9, (5, 6, 7)),
    ],
)
def test_logits(rng, height, width, widths, residual):
    ours, theirs = both_nets(
        rng,
        widths=widths,
        residual=residual,
        input_shape=(height, width, 3),
    )
    images = pixels(rng, 16, height, width)
    for training in (False, True):
        with torch.no_grad():
            expected = theirs.train(training)(for_torch(images)).numpy()
        logits = keras.ops.convert_to_numpy(ours(images, training=training))
        assert_equal({"logits": logits}, {"logits": expected}, 1e-5)
    # The step in training moved the statistics.
    assert_equal(numbers_in(ours), numbers_of(theirs), 1e-5)


def test_sizes_of_the_published_nets():
    sizes = {
        (64, 256, 256): (False, 1_971_640),
        (128, 384, 384): (False, 4_604_728),
        (128, 384, 512): (True, 9_915_704),
    }
    for widths, (residual, count) in sizes.items():
        model = Airbench(widths=widths, residual=residual)
        statistics = sum(
            w.size for name, w in numbers_in(model).items() if "moving" in name
        )
        assert model.count_params() - statistics == count
        theirs = pytorch_airbench.Airbench(widths, residual=residual)
        assert sum(p.numel() for p in theirs.parameters()) == count


def test_layer_names_are_the_checkpoint_format():
    model = Airbench(augmentation=None, **SMALL)
    assert [layer.name for layer in model.layers] == [
        "normalization",
        "whiten",
        "activation",
        "group1",
        "group2",
        "group3",
        "pool",
        "linear",
    ]


def test_kernels_start_from_identities():
    model = Airbench(widths=(32, 40, 40))
    for name, kernel in numbers_in(model).items():
        if "conv" not in name:
            continue
        channels, filters = kernel.shape[2:]
        kept = min(channels, filters)
        expected = torch.nn.init.dirac_(torch.empty(filters, channels, 3, 3))
        np.testing.assert_array_equal(
            kernel[..., :kept], filters_last(expected.numpy())[..., :kept]
        )


def test_adapting_is_on_the_normalised_images(rng):
    images = pixels(rng, 100, 17, 19)
    for dtype in ("uint8", "float32"):
        model = Airbench(mean=MEAN, std=STD, **SMALL)
        model.adapt(images.astype(dtype))
        expected = numpy_airbench.whitening_kernel(normalized(images))
        expected = expected.reshape(24, -1)
        found = filters_first(numbers_in(model)["whiten/kernel"])
        distance = np.abs(found.reshape(24, 1, -1) - expected).max(-1)
        assert set(distance.argmin(1)) == set(range(24))
        assert distance.min(1).max() < 1e-4 * np.abs(expected).max()


def optimizer(name="airbench94_muon"):
    return optimizers.airbench_optimizer(
        STEPS_PER_EPOCH,
        EPOCHS,
        BATCH,
        **recipes.get(name).optimizer_arguments,
    )


def make_data(rng, height, width):
    n = STEPS * BATCH
    images, labels = pixels(rng, n, height, width), rng.integers(0, 10, n)
    # Some classes can be told apart.
    images[labels < 3, :4] //= 2
    return images, labels


def whitened_nets(rng, **arguments):
    """Both nets, and the data, to whose whitening they are set."""
    ours, theirs = both_nets(rng, **SMALL, **arguments)
    images, labels = make_data(rng, *SMALL["input_shape"][:2])
    kernel = numpy_airbench.whitening_kernel(normalized(images))
    theirs.whiten.weight.data.copy_(torch.tensor(kernel))
    give(ours, numbers_of(theirs))
    ours.compile(optimizer())
    return ours, theirs, images, labels


# Of Hiverge's program, for the loss summed over the batch.
HIVERGE = {
    "filters_learning_rate": 0.205,
    "filters_momentum": 0.655,
    "bias_learning_rate": 0.0573,
    "head_learning_rate": 0.5415,
    "sgd_momentum": 0.825,
    "weight_decay": 1.0418e-6,
    "label_smoothing": 0.09,
}


# In float64: over the steps rounding grows a thousandfold.
@pytest.mark.parametrize("summed", [False, True], ids=["mean", "published"])
@pytest.mark.parametrize(
    "name, net, bias_steps, numbers",
    [
        ("airbench94_muon", {}, BIAS_EPOCHS * STEPS_PER_EPOCH, {}),
        (
            "airbench94_muon",
            {"residual": True},
            BIAS_EPOCHS * STEPS_PER_EPOCH,
            {},
        ),
        (
            "cpu94",
            {
                "group_activation": "silu",
                "momentum": 0.5566,
                "label_smoothing": 0.09,
            },
            1,
            HIVERGE,
        ),
    ],
)
@pytest.mark.slow
def test_twenty_steps_of_fit(rng, summed, name, net, bias_steps, numbers):
    with floats("float64"):
        ours, theirs, images, labels = whitened_nets(rng, **net)
        ours.compile(optimizer(name))
        before = numbers_of(theirs)
        ours.fit(images, labels, batch_size=BATCH, shuffle=False, verbose=0)
        batches = zip(
            for_torch(images).split(BATCH),
            torch.tensor(labels).split(BATCH),
            strict=True,
        )
        pytorch_airbench.train(
            theirs, list(batches), bias_steps, summed, **numbers
        )
        assert_moved_alike(ours, theirs, before)


def assert_moved_alike(ours, theirs, before):
    after = numbers_of(theirs)
    # All but the whitening's kernel moved.
    for name, array in after.items():
        moved = np.abs(array - before[name]).max()
        if name == "whiten/kernel":
            assert moved <= 1e-12 * np.abs(array).max()
        else:
            assert moved > 1e-3 * np.abs(array).max()
    assert_equal(numbers_in(ours), after, 1e-4)


# The source's rate and decay, warm-up, final rate and the nets' difference; of
# airbench94 one step fewer, which the last of Lookahead's leaves out.
WITHOUT_MUON = {
    "airbench94": (11.5, 0.0153, 0.23, 0.07, {}, STEPS - 1),
    "airbench96": (
        *(9.0, 0.012, 0.1, 0.0),
        {"residual": True, "momentum": 0.9},
        STEPS,
    ),
}


@pytest.mark.parametrize("summed", [False, True], ids=["mean", "published"])
@pytest.mark.parametrize("name", WITHOUT_MUON)
@pytest.mark.slow
def test_twenty_steps_with_lookahead(rng, name, summed):
    rate, decay, warmup, final, net, steps = WITHOUT_MUON[name]
    with floats("float64"):
        ours, theirs, images, labels = whitened_nets(
            rng, logit_scale=1 / 9, **net
        )
        given = recipes.get(name).optimizer_arguments
        epochs = steps / STEPS_PER_EPOCH
        ours.compile(
            optimizers.airbench_sgd_optimizer(
                STEPS_PER_EPOCH, epochs, BATCH, **given
            )
        )
        before = numbers_of(theirs)
        fit = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
        ours.fit(images, labels, epochs=steps / STEPS, **fit)
        batches = zip(
            for_torch(images).split(BATCH),
            torch.tensor(labels).split(BATCH),
            strict=True,
        )
        pytorch_airbench.train_with_lookahead(
            theirs,
            list(batches)[:steps],
            rate,
            decay,
            warmup,
            final,
            BIAS_EPOCHS * STEPS_PER_EPOCH,
            summed,
        )
        assert_moved_alike(ours, theirs, before)


@pytest.mark.slow
def test_the_whitenings_bias_comes_to_rest(rng):
    ours, _, images, labels = whitened_nets(rng)
    biases = []
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        ours.train_on_batch(images[batch], labels[batch])
        biases.append(ours.whiten.bias.numpy().copy())
    moves = np.abs(np.diff(biases, axis=0)).max(-1)
    # Between the ends of two steps, the first of which is the second step.
    trained = BIAS_EPOCHS * STEPS_PER_EPOCH - 1
    assert (moves[:trained] > 0).all()
    np.testing.assert_array_equal(moves[trained:], 0)


def test_the_recipes_numbers():
    model = Airbench()
    grouped = optimizers.airbench_optimizer()
    grouped.build(model.trainable_variables)
    # The biases of six normalizations, one whitening and one head; the rate at
    # the first step, for the mean loss, and the step at which it reaches 0.
    sgd = {
        "whiten/bias": (106.0, 3.7736e-5, 75),
        "beta": (106.0, 3.7736e-5, 200),
        "linear/kernel": (1340.0, 2.9851e-6, 200),
    }
    trained = []
    for inner in grouped.optimizers:
        names = [v.path.split("/", 1)[1] for v in inner._trainable_variables]
        trained += names
        schedule = inner._learning_rate
        if "conv1/kernel" in names[0]:
            assert len(names) == 6
            assert all(n.endswith("kernel") for n in names)
            assert inner.momentum == 0.6 and inner.nesterov
            assert inner.ns_steps == 3 and inner.normalize_weights
            assert not inner.weight_decay
            rate, last = 0.24, 200
        else:
            leaf = next(key for key in sgd if names[0].endswith(key))
            assert all(n.endswith(leaf) for n in names)
            assert len(names) == (6 if leaf == "beta" else 1)
            rate, decay, last = sgd[leaf]
            assert inner.momentum == 0.85 and inner.nesterov
            np.testing.assert_allclose(
                inner.coupled_weight_decay, decay, rtol=1e-4
            )
        for step in (0, 1, last // 2, last - 1, last, last + 30):
            np.testing.assert_allclose(
                float(schedule(step)),
                rate * max(0, 1 - step / last),
                rtol=1e-5,
                err_msg=f"{names} at step {step}",
            )
    assert sorted(trained) == sorted(
        v.path.split("/", 1)[1] for v in model.trainable_variables
    )


def test_the_rates_end_within_an_epoch():
    grouped = optimizers.airbench_optimizer(
        10, 2.55, 16, filters_momentum=0.7, whitening_epochs=3
    )
    for inner in grouped.optimizers:
        rates = [float(inner._learning_rate(step)) for step in (0, 13, 26, 30)]
        # Of 25.5 steps the last is made whole.
        np.testing.assert_allclose(
            np.divide(rates, rates[0]), [1, 0.5, 0, 0], rtol=1e-5
        )
    assert grouped.groups[r"(.*/)?group\d/conv\d/kernel"].momentum == 0.7


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.slow
def test_a_step_in_16_bits_is_finite(rng, dtype):
    model = Airbench(dtype=dtype, **SMALL)
    images, labels = pixels(rng, 16, 17, 19), rng.integers(0, 10, 16)
    model.adapt(images)
    kernel = numbers_in(model)["whiten/kernel"]
    model.compile(optimizers.airbench_optimizer(1, 1, 16))
    before = numbers_in(model)
    logs = model.fit(images, labels, batch_size=16, verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    after = numbers_in(model)
    for name, array in after.items():
        assert array.dtype == "float32" and np.isfinite(array).all()
        assert (name == "whiten/kernel") == np.array_equal(array, before[name])
    np.testing.assert_array_equal(after["whiten/kernel"], kernel)
    for layer in model.layers:
        # The pixels' distance from their mean needs more bits; a `Sequential`
        # has layers with policies.
        if layer.name not in ("normalization", "augmentation"):
            assert layer.dtype_policy.name == dtype, layer.name
    assert np.isfinite(model.predict(images, verbose=0)).all()


def test_config_round_trip():
    arguments = {
        "num_classes": 7,
        "widths": (4, 5, 6),
        "residual": True,
        "input_shape": (None, 40, 2),
        "mean": (0.1, 0.2),
        "std": (0.3, 0.4),
        "logit_scale": 1 / 9,
        "label_smoothing": 0.1,
        "views": "mirror",
        "name": "net",
    }
    model = Airbench(**arguments)
    net = restored(model, arguments)
    shapes = [[tuple(w.shape) for w in m.weights] for m in (model, net)]
    assert shapes[0] == shapes[1]


@pytest.fixture
def plain(monkeypatch):
    """examples/measure's airbench96, normalising as here, in one precision."""
    monkeypatch.setattr(
        plain_airbench96, "normalize", lambda part: for_torch(part.numpy())
    )
    monkeypatch.setattr(torch, "autocast", lambda _: contextlib.nullcontext())
    return plain_airbench96


def test_the_plain_airbench96_makes_the_same_steps(rng, plain, monkeypatch):
    net = {"residual": True, "momentum": 0.9, "logit_scale": 1 / 9}
    for name, value in {
        "BATCH": BATCH,
        "crop_and_flip": lambda x, *_: x,
        "cutout": lambda x: x,
    }.items():
        monkeypatch.setattr(plain, name, value)
    monkeypatch.setattr(torch, "randperm", torch.arange)
    with floats("float64"):
        _, theirs, images, labels = whitened_nets(rng, **net)
        trained = plain_airbench.Airbench(SMALL["widths"], **net).double()
        trained.load_state_dict(theirs.state_dict(), strict=False)
        n = STEPS_PER_EPOCH * BATCH
        images, labels = images[:n], torch.tensor(labels[:n])
        epoch = zip(
            for_torch(images).split(BATCH), labels.split(BATCH), strict=True
        )
        pytorch_airbench.train_with_lookahead(
            theirs,
            list(epoch) * EPOCHS,
            *WITHOUT_MUON["airbench96"][:4],
            BIAS_EPOCHS * STEPS_PER_EPOCH,
            summed=False,
        )
        training = plain.train(trained, torch.tensor(images), labels, EPOCHS)
        assert len(list(training)) == EPOCHS
    # PyTorch's own normalization keeps the unbiased variance.
    expected = {
        name: array
        for name, array in numbers_of(theirs).items()
        if "moving_variance" not in name
    }
    numbers = numbers_of(trained)
    assert_equal({name: numbers[name] for name in expected}, expected, 1e-4)


def test_the_plain_airbench96_is_evaluated_by_views(rng, plain):
    images = pixels(rng, 700, 17, 19)
    # Any net; of a small Airbench that is not trained all views agree.
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(images[0].size, 10)
    )
    expected = {}
    with torch.no_grad():
        labels = net(for_torch(images)).argmax(1).numpy()
        for kind in (None, "mirror", "mirror_translate"):
            logits = sum(
                share * net(for_torch(np.ascontiguousarray(view)))
                for share, view in numpy_airbench.views(images, kind)
            )
            hits = logits.argmax(1).numpy() == labels
            expected[kind or "plain"] = hits.mean()
    assert len(set(expected.values())) == 3
    assert plain.accuracy_by_views(
        net, torch.tensor(images), torch.tensor(labels)
    ) == pytest.approx(expected, abs=0.005)
