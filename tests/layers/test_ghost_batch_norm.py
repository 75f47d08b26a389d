"""The parts of a batch normalized by themselves, against NumPy."""

import keras
import numpy as np
import pytest

from keras_davidnet import GhostBatchNormalization, GhostBlock


def ghost_norm(x, groups, axis, gamma, beta):
    """Outputs and mean statistics, in float64."""
    x = np.moveaxis(x.astype("float64"), axis, -1)
    axes = tuple(range(x.ndim - 1))
    outputs, means, variances = np.empty_like(x), [], []
    for group in range(groups):
        part = x[group::groups]
        means.append(part.mean(axes))
        variances.append(part.var(axes))
        outputs[group::groups] = (part - means[-1]) / np.sqrt(
            variances[-1] + 1e-5
        ) * gamma + beta
    return (
        np.moveaxis(outputs, -1, axis),
        np.mean(means, 0),
        np.mean(variances, 0),
    )


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize(
    "shape, axis", [((4, 5, 3), -1), ((6,), -1), ((3, 4), 1)]
)
@pytest.mark.parametrize("groups", [1, 3, 4])
def test_ghost_statistics(rng, groups, shape, axis, scale):
    channels = shape[axis - 1 if axis > 0 else axis]
    gamma = rng.normal(size=channels) if scale else np.ones(channels)
    beta = rng.normal(size=channels)
    layer = GhostBatchNormalization(groups, axis=axis, scale=scale)
    layer.build((None, *shape))
    layer.beta.assign(beta)
    if scale:
        layer.gamma.assign(gamma)
    mean, variance = np.zeros(channels), np.ones(channels)
    for size in (36, 24):
        # Each image has another mean, so the groups differ.
        x = rng.normal(size=(size, *shape)) + rng.normal(
            size=(size, *([1] * len(shape)))
        )
        x = x.astype("float32")
        expected, batch_mean, batch_variance = ghost_norm(
            x, groups, axis, gamma, beta
        )
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(layer(x, training=True)),
            expected,
            atol=1e-4,
        )
        mean = 0.9 * mean + 0.1 * batch_mean
        variance = 0.9 * variance + 0.1 * batch_variance
    for moving, value in (
        (layer.moving_mean, mean),
        (layer.moving_variance, variance),
    ):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(moving), value, rtol=1e-4, atol=1e-6
        )
    # In inference as Keras's layer, and for any number of images.
    stock = keras.layers.BatchNormalization(
        axis=axis, scale=scale, epsilon=1e-5
    )
    stock.build((None, *shape))
    for w, given in zip(stock.weights, layer.weights, strict=True):
        w.assign(given)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer(x[:7], training=False)),
        keras.ops.convert_to_numpy(stock(x[:7], training=False)),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("scale", [False, True])
def test_gradients_of_ghost_norm(rng, scale):
    torch = pytest.importorskip("torch")
    from plain.pytorch_bag_of_tricks import GhostBatchNorm

    images = rng.normal(2, 3, (8, 5, 6, 3))
    # Of the outputs times these, summed: a gradient with no symmetry.
    factors = rng.normal(size=images.shape)
    # What comes before shows the gradient of the inputs.
    dense = keras.layers.Dense(3, use_bias=False)
    norm = GhostBatchNormalization(4, scale=scale)
    model = keras.Sequential([keras.Input(images.shape[1:]), dense, norm])
    gamma, beta = rng.uniform(0.5, 2, (2, 3))
    norm.set_weights(
        [*([gamma] if scale else []), beta, np.zeros(3), np.ones(3)]
    )
    model.compile(keras.optimizers.SGD(1.0), lambda y, x: keras.ops.sum(y * x))
    before = [w.numpy().copy() for w in model.trainable_variables]
    model.train_on_batch(images.astype("float32"), factors.astype("float32"))
    after = [w.numpy() for w in model.trainable_variables]

    tensors = [torch.tensor(w, dtype=torch.float64) for w in before]
    for tensor in tensors:
        tensor.requires_grad_()
    kernel, *scales, bias = tensors
    x = (torch.tensor(images) @ kernel).permute(0, 3, 1, 2)
    y = GhostBatchNorm(3, 4).double()(x)
    y = y.permute(0, 2, 3, 1) * (scales[0] if scale else 1) + bias
    (y * torch.tensor(factors)).sum().backward()
    for b, a, tensor in zip(before, after, tensors, strict=True):
        step = tensor.grad.numpy()
        np.testing.assert_allclose(b - a, step, atol=2e-5 * abs(step).max())


def test_ghost_norm_computes_in_float32(rng):
    x = rng.normal(100, 1, (32, 8, 8, 2)).astype("float32")
    layer = GhostBatchNormalization(
        4, scale=False, center=False, dtype="mixed_bfloat16"
    )
    outputs = layer(x, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    # What the layer sees: Keras casts inputs to the compute dtype.
    seen = keras.ops.cast(keras.ops.cast(x, "bfloat16"), "float32")
    expected, mean, variance = ghost_norm(
        keras.ops.convert_to_numpy(seen), 4, -1, 1, 0
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32")),
        expected,
        rtol=1e-2,
        atol=1e-3,
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer.moving_variance),
        0.9 + 0.1 * variance,
        rtol=1e-4,
    )
    assert layer.moving_mean.dtype == "float32"


def test_frozen_ghost_norm_is_inference(rng):
    layer = GhostBatchNormalization(4, trainable=False)
    x = rng.normal(size=(6, 3)).astype("float32")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(layer(x, training=True)),
        keras.ops.convert_to_numpy(layer(x, training=False)),
    )


def test_what_ghost_norm_cannot_take(rng):
    layer = GhostBatchNormalization(4)
    x = rng.normal(size=(10, 3)).astype("float32")
    with pytest.raises(
        ValueError, match=r"multiple of groups=4.*shape \(10, 3\)"
    ):
        layer(x, training=True)
    with pytest.raises(ValueError, match="mask"):
        layer(x[:8], training=True, mask=np.ones(8, bool))
    with pytest.raises(ValueError, match="Received: groups=0"):
        GhostBatchNormalization(0)
    for name in ("synchronized", "renorm"):
        with pytest.raises(ValueError, match=f"Received: {name}=True"):
            GhostBatchNormalization(**{name: True})


def test_a_block_in_a_functional_model(rng):
    images = keras.Input((9, 9, 3))
    x = GhostBlock(4, residual=True, groups=2)(images, training=True)
    assert x.shape == (None, 4, 4, 4)
    model = keras.Model(images, x)
    outputs = model(rng.normal(size=(4, 9, 9, 3)))
    assert tuple(outputs.shape) == (4, 4, 4, 4)


def test_ghost_norm_of_images_of_any_size(rng):
    images = keras.Input((None, None, 3))
    outputs = GhostBatchNormalization(4)(images)
    assert outputs.shape == (None, None, None, 3)
    model = keras.Model(images, outputs)
    for size in (5, 6):
        x = rng.normal(size=(8, size, 7, 3)).astype("float32")
        expected, *_ = ghost_norm(x, 4, -1, 1, 0)
        outputs = keras.ops.convert_to_numpy(model(x, training=True))
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
