import keras
import numpy as np
import pytest
from helpers import assert_uniform, steps_of
from keras.src.testing import TestCase
from plain import numpy_davidnet as reference

from keras_davidnet import (
    ConvBN,
    ConvGroup,
    PyTorchUniform,
    ResBlock,
    WhiteningConv2D,
)
from keras_davidnet.layers.fast_layers import (
    FastBatchNormalization,
    FastConv2D,
    FastDropout,
    FastMaxPooling2D,
)


def scrambled(layer, rng):
    """Gives a built layer weights that no initializer would."""
    layer.set_weights(
        [rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()]
    )
    return layer


def numpy(x):
    return keras.ops.convert_to_numpy(x)


# Keras's harness trains from a generator.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
class KerasHarness(TestCase):
    def test_conv_bn(self):
        self.run_layer_test(
            ConvBN,
            {"filters": 4},
            input_shape=(2, 6, 5, 3),
            expected_output_shape=(2, 6, 5, 4),
            expected_num_trainable_weights=3,
            expected_num_non_trainable_weights=2,
            expected_num_seed_generators=1,
        )
        self.run_layer_test(
            ConvBN,
            {
                "filters": 4,
                "kernel_size": (1, 3),
                "strides": 2,
                "padding": "valid",
                "activation": None,
                "kernel_initializer": PyTorchUniform(seed=1),
                "momentum": 0.5,
                "epsilon": 1e-3,
                "dropout": 0.0,
            },
            input_shape=(2, 6, 5, 3),
            expected_output_shape=(2, 3, 2, 4),
            expected_num_trainable_weights=3,
        )

    def test_res_block(self):
        self.run_layer_test(
            ResBlock,
            {"filters": 4},
            input_shape=(2, 6, 6, 3),
            expected_output_shape=(2, 3, 3, 4),
            expected_num_trainable_weights=3,
        )
        self.run_layer_test(
            ResBlock,
            {"filters": 4, "residual": True, "activation": "gelu"},
            input_shape=(2, 6, 6, 3),
            expected_output_shape=(2, 3, 3, 4),
            expected_num_trainable_weights=9,
            expected_num_non_trainable_weights=6,
        )
        self.run_layer_test(
            ResBlock,
            {"filters": 4, "pool": None, "residual": True},
            input_shape=(2, 6, 6, 3),
            expected_output_shape=(2, 6, 6, 4),
        )
        # The harness builds one pool in several blocks; this one is fresh.
        self.run_class_serialization_test(
            ResBlock(4, pool=keras.layers.AveragePooling2D(3))
        )

    def test_conv_group(self):
        self.run_layer_test(
            ConvGroup,
            {"filters": 4},
            input_shape=(2, 7, 6, 3),
            expected_output_shape=(2, 3, 3, 4),
            expected_num_trainable_weights=4,
            expected_num_non_trainable_weights=4,
        )
        self.run_layer_test(
            ConvGroup,
            {
                "filters": 4,
                "residual": True,
                "activation": "silu",
                "kernel_initializer": PyTorchUniform(seed=1),
                "momentum": 0.9,
                "epsilon": 1e-3,
            },
            input_shape=(2, 6, 6, 3),
            expected_output_shape=(2, 3, 3, 4),
            expected_num_trainable_weights=6,
            expected_num_non_trainable_weights=6,
        )

    def test_whitening(self):
        for arguments, shape in (
            ({}, (2, 5, 4, 24)),
            (
                {
                    "kernel_size": 3,
                    "epsilon": 1e-2,
                    "bias_initializer": PyTorchUniform(seed=1),
                },
                (2, 4, 3, 54),
            ),
        ):
            self.run_layer_test(
                WhiteningConv2D,
                arguments,
                input_shape=(2, 6, 5, 3),
                expected_output_shape=shape,
                expected_num_trainable_weights=1,
                expected_num_non_trainable_weights=1,
                # It is not adapted.
                run_training_check=False,
            )


@pytest.mark.parametrize("training", [False, True])
def test_conv_bn_equals_numpy(rng, training):
    x = rng.normal(size=(3, 7, 6, 2))
    layer = ConvBN(5, dropout=0)
    layer.build(x.shape)
    scrambled(layer, rng)
    expected = reference.conv_bn(x, layer, training)
    kernel, (_, _, mean, variance) = reference.weights_of(layer)
    np.testing.assert_allclose(
        numpy(layer(x, training=training)), expected, rtol=1e-4, atol=1e-4
    )
    if training:
        # Momentum 0.9; the batch's variance is the biased one, as in Keras.
        y = reference.conv_same(x, kernel)
        _, (_, _, new_mean, new_variance) = reference.weights_of(layer)
        np.testing.assert_allclose(
            new_mean, 0.9 * mean + 0.1 * y.mean((0, 1, 2)), rtol=1e-5
        )
        np.testing.assert_allclose(
            new_variance, 0.9 * variance + 0.1 * y.var((0, 1, 2)), rtol=1e-5
        )


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_res_block_equals_numpy(rng, residual, training):
    x = rng.normal(size=(3, 7, 8, 2))
    block = ResBlock(3, residual=residual, dropout=0)
    block.build(x.shape)
    scrambled(block, rng)
    expected = reference.res_block(x, block, training)
    np.testing.assert_allclose(
        numpy(block(x, training=training)), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("activation", ["tanh", "mish"])
def test_compiled_inference_of_an_activation(rng, activation):
    x = rng.normal(size=(4, 8, 8, 3)).astype("float32")
    layer, linear = ConvBN(4, activation=activation), ConvBN(4, activation=None)
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    linear.build(x.shape)
    linear.set_weights(layer.get_weights())
    model.compile(jit_compile=keras.backend.backend() == "jax")
    y = numpy(linear(x)).astype("float64")
    expected = {"tanh": np.tanh(y), "mish": y * np.tanh(np.log1p(np.exp(y)))}
    np.testing.assert_allclose(
        model.predict(x, verbose=0), expected[activation], rtol=0, atol=1e-5
    )


def test_dropout_comes_before_normalization(rng):
    # Dropped, an output of the convolution is 0, and leaves the normalization
    # as the one value -mean / deviation; after it, it would be 0.
    layer = ConvBN(1, 1, activation=None, dropout=0.5)
    x = np.ones((1, 40, 40, 1), "float32")
    y = numpy(layer(x, training=True)).ravel()
    low, high = np.unique(y.round(3))
    assert low < -0.5 and high > 0.5
    dropped = (y < 0).mean()
    assert 0.4 < dropped < 0.6
    assert len(np.unique(numpy(layer(x)).round(5))) == 1


def test_kernels_never_share_a_draw():
    shared = PyTorchUniform()
    seeded = {"residual": True, "kernel_initializer": PyTorchUniform(seed=1)}
    layers = [
        ConvBN(4, kernel_initializer=shared),
        ConvBN(4, kernel_initializer=shared),
        ResBlock(4, **seeded),
        ConvGroup(4, residual=True, kernel_initializer=shared),
    ]
    again = [ResBlock(4, **seeded), ConvGroup(4, **seeded)]
    for layer in layers + again:
        layer.build((None, 8, 8, 4))
    kernels = [w for layer in layers for w in kernels_of(layer)]
    for i, one in enumerate(kernels):
        for other in kernels[:i]:
            assert not np.array_equal(one, other)
    # A seed gives the same in every block.
    for one, *others in zip(*map(kernels_of, again + layers[2:3]), strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_parts_that_have_no_copy():
    """A subclass with arguments of its own; Keras takes it, too."""

    class Third(keras.layers.LeakyReLU):
        def __init__(self):
            super().__init__(negative_slope=1 / 3)

    class Narrow(keras.initializers.RandomNormal):
        def __init__(self):
            super().__init__(stddev=0.25)

    layer = ConvGroup(
        64, activation=Third(), kernel_initializer=Narrow(), residual=True
    )
    layer.build((None, 8, 8, 64))
    kernels = kernels_of(layer)
    for index, kernel in enumerate(kernels):
        assert 0.2 < kernel.std() < 0.3
        assert not np.array_equal(kernel, kernels[index - 1])

    class Slope(keras.layers.PReLU):
        def __init__(self):
            super().__init__(shared_axes=[1, 2])

    # Its weights would be shared.
    with pytest.raises(TypeError, match="Slope"):
        ConvBN(4, activation=Slope())


def kernels_of(layer):
    return [w.numpy() for w in layer.weights if w.path.endswith("kernel")]


def test_precision_reaches_every_sublayer():
    block = ResBlock(4, residual=True, dtype="mixed_bfloat16")
    restored = ResBlock.from_config(block.get_config())
    for layer in (block, restored):
        for sublayer in layer._flatten_layers():
            assert sublayer.dtype_policy.name == "mixed_bfloat16"


@pytest.mark.parametrize(
    "build, error, message",
    [
        (lambda: ConvGroup(0), ValueError, "filters=0"),
        (lambda: ConvGroup(4, activation="gelo"), ValueError, "gelo"),
        (lambda: ConvGroup(4, momentum=1.5), ValueError, "momentum=1.5"),
        (lambda: ConvGroup(4, epsilon=-1), ValueError, "epsilon=-1"),
        (lambda: ConvGroup(4, kernel_sizes=3), ValueError, "kernel_sizes=3"),
        (
            lambda: ConvGroup(4, inner_filters=0.5),
            ValueError,
            "inner_filters=0.5",
        ),
    ],
)
def test_bad_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build()


SCALE_AND_CENTER = pytest.mark.parametrize(
    "scale, center",
    [(True, True), (False, True), (True, False), (False, False)],
)


def fused_and_stock(shape, rng, **arguments):
    """Our layer and Keras's, of the same weights."""
    fused, stock = (
        make(momentum=0.8, epsilon=0.1, **arguments)
        for make in (FastBatchNormalization, keras.layers.BatchNormalization)
    )
    fused.build(shape)
    stock.build(shape)
    # A copy: TensorFlow may work on the array that it is given.
    weights = [w.copy() for w in scrambled(fused, rng).get_weights()]
    stock.set_weights(weights)
    return fused, stock


@SCALE_AND_CENTER
@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (1, 1, 1, 3)])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_fused_batch_normalization_is_kerass(rng, dtype, shape, scale, center):
    images = rng.normal(2, 3, shape).astype("float32")
    fused, stock = fused_and_stock(
        images.shape, rng, dtype=dtype, scale=scale, center=center
    )
    for training in (True, False):
        outputs, expected = (
            layer(images, training=training) for layer in (fused, stock)
        )
        assert outputs.dtype == expected.dtype
        np.testing.assert_allclose(
            numpy(keras.ops.cast(outputs, "float32")),
            numpy(keras.ops.cast(expected, "float32")),
            rtol=2**-7 if dtype == "mixed_bfloat16" else 1e-5,
            atol=1e-5,
        )
        assert len(fused.get_weights()) == 2 + scale + center
        for one, other in zip(
            fused.get_weights(), stock.get_weights(), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-6)


@SCALE_AND_CENTER
def test_gradients_of_fused_batch_normalization(rng, scale, center):
    images = rng.normal(2, 3, (4, 5, 6, 3)).astype("float32")
    # Of the outputs times these, summed: a gradient with no symmetry.
    factors = rng.normal(size=images.shape).astype("float32")
    # What comes before shows the gradient of the inputs.  Not compared with
    # Keras's layer: on TensorFlow that one may see its gamma too late, after
    # the step.
    conv = keras.layers.Conv2D(3, 1, use_bias=False)
    bn = FastBatchNormalization(scale=scale, center=center, epsilon=0.1)
    model = keras.Sequential([keras.Input(images.shape[1:]), conv, bn])
    scrambled(bn, rng)
    model.compile(keras.optimizers.SGD(1.0), lambda y, x: keras.ops.sum(y * x))
    before = [w.numpy().copy() for w in model.trainable_variables]
    model.train_on_batch(images, factors)
    after = [w.numpy() for w in model.trainable_variables]

    kernel = before[0][0, 0].astype("float64")
    y = images @ kernel
    deviation = np.sqrt(y.var((0, 1, 2)) + 0.1)
    y = (y - y.mean((0, 1, 2))) / deviation
    expected = [(factors * y).sum((0, 1, 2))] if scale else []
    expected += [factors.sum((0, 1, 2))] if center else []
    g = factors * before[1] if scale else factors
    g = g - g.mean((0, 1, 2)) - y * (g * y).mean((0, 1, 2))
    g = np.einsum("bhwi,bhwo->io", images, g / deviation)
    expected.insert(0, g[None, None])
    for b, a, step in zip(before, after, expected, strict=True):
        np.testing.assert_allclose(
            b - a, step, rtol=0, atol=1e-5 * np.abs(step).max() + 1e-5
        )


def test_gradients_through_a_frozen_fused_batch_normalization(rng):
    images, factors = rng.normal(size=(2, 4, 5, 6, 3)).astype("float32")
    conv = keras.layers.Conv2D(3, 1, use_bias=False)
    bn = FastBatchNormalization(epsilon=0.1)
    model = keras.Sequential([keras.Input(images.shape[1:]), conv, bn])
    gamma, _, _, variance = scrambled(bn, rng).get_weights()
    factor = factors * gamma / np.sqrt(variance + 0.1)
    bn.trainable = False
    model.compile(keras.optimizers.SGD(1.0), lambda y, x: keras.ops.sum(y * x))
    (kernel,) = [w.copy() for w in conv.get_weights()]
    model.train_on_batch(images, factors)
    expected = np.einsum("bhwi,bhwo->io", images, factor)
    np.testing.assert_allclose(
        (kernel - conv.get_weights()[0])[0, 0], expected, rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("window", [2, (3, 1)])
def test_fast_max_pooling_and_its_gradient(rng, dtype, window):
    # Whole numbers: many windows have their largest value more than once.
    images = rng.integers(-3, 4, (3, 7, 8, 2)).astype("float32")
    scale = keras.layers.EinsumDense(
        "bhwc,hwc->bhwc", (7, 8, 2), kernel_initializer="ones"
    )
    pool = FastMaxPooling2D(window, dtype=dtype)
    model = keras.Sequential([keras.Input((7, 8, 2)), scale, pool])
    pooled = np.asarray(model.predict(images, verbose=0), "float32")

    height, width = (window, window) if window == 2 else window
    expected = np.zeros((3, 7 // height, 8 // width, 2), "float32")
    # Of the sum over the outputs: the first of the largest values counts.
    gradient = np.zeros((7, 8, 2), "float32")
    for index in np.ndindex(expected.shape):
        b, i, j, c = index
        rows, columns = i * height, j * width
        values = images[b, rows : rows + height, columns : columns + width, c]
        expected[index] = values.max()
        k, m = np.unravel_index(values.argmax(), values.shape)
        gradient[rows + k, columns + m, c] += values.max()
    np.testing.assert_array_equal(pooled, expected)
    model.compile(
        keras.optimizers.SGD(1.0), lambda _, outputs: keras.ops.sum(outputs)
    )
    model.train_on_batch(images, expected)
    np.testing.assert_array_equal(1 - model.get_weights()[0], gradient)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="TensorFlow's own pooling passes over them",
)
def test_fast_max_pooling_shows_what_is_not_a_number():
    images = np.zeros((4, 2, 2, 1), "float32")
    images.reshape(4, 4)[range(4), range(4)] = np.nan
    assert np.isnan(numpy(FastMaxPooling2D(2)(images))).all()


# One image at a time, two, and all at once.
@pytest.mark.parametrize("part_bytes", [1, 1000, 2**20])
@pytest.mark.parametrize(
    ("size", "strides", "padding"),
    [
        (3, 1, "same"),
        (3, 2, "same"),
        ((2, 3), (2, 1), "valid"),
        (1, 1, "valid"),
    ],
)
def test_fast_convolution_and_its_gradients(
    rng, monkeypatch, size, strides, padding, part_bytes
):
    if keras.backend.backend() == "jax":
        from keras_davidnet._backend import jax

        monkeypatch.setattr(jax, "PART_BYTES", part_bytes)
    images = rng.normal(size=(6, 7, 8, 2)).astype("float32")
    scale = keras.layers.EinsumDense(
        "bhwc,hwc->bhwc", (7, 8, 2), kernel_initializer="ones"
    )
    layer = FastConv2D(
        3, size, strides=strides, padding=padding, use_bias=False
    )
    model = keras.Sequential([keras.Input((7, 8, 2)), scale, layer])
    outputs = model.predict(images, verbose=0)
    factors = rng.normal(size=outputs.shape).astype("float32")
    _, kernel = model.get_weights()

    (height, width), (down, right) = (
        (n, n) if isinstance(n, int) else n for n in (size, strides)
    )
    pads = [(0, 0)] * 4
    if padding == "same":
        for axis, n, step in (1, height, down), (2, width, right):
            total = max(0, (outputs.shape[axis] - 1) * step + n)
            total = max(0, total - images.shape[axis])
            pads[axis] = (total // 2, total - total // 2)
    padded = np.pad(images, pads)
    expected = np.zeros_like(outputs)
    of_kernel, of_padded = np.zeros_like(kernel), np.zeros_like(padded)
    for b, i, j in np.ndindex(outputs.shape[:3]):
        window = np.s_[
            b, i * down : i * down + height, j * right : j * right + width
        ]
        factor = factors[b, i, j]
        expected[b, i, j] = np.tensordot(padded[window], kernel, 3)
        of_kernel += padded[window][..., None] * factor
        of_padded[window] += kernel @ factor
    (top, _), (left, _) = pads[1:3]
    of_images = of_padded[:, top : top + 7, left : left + 8]

    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    model.compile(
        keras.optimizers.SGD(1.0),
        lambda factors, outputs: keras.ops.sum(factors * outputs),
    )
    model.train_on_batch(images, factors)
    for before, after, gradient in zip(
        (1, kernel),
        model.get_weights(),
        ((images * of_images).sum(0), of_kernel),
        strict=True,
    ):
        np.testing.assert_allclose(
            before - after, gradient, rtol=1e-4, atol=1e-4
        )


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow has it alone"
)
@pytest.mark.parametrize("size", [(3, 3), (1, 4), (2, 1)])
@pytest.mark.parametrize("kernel_size", [(3, 3), (2, 2), (1, 1), (7, 4)])
def test_convolution_of_small_images(rng, size, kernel_size):
    import tensorflow as tf

    from keras_davidnet._backend.tensorflow import conv_by_taps

    images = tf.constant(rng.normal(size=(5, *size, 2)), "float32")
    kernel = tf.constant(rng.normal(size=(*kernel_size, 2, 4)), "float32")
    factors = rng.normal(size=(5, *size, 4)).astype("float32")

    def outputs_and_gradients(convolution):
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            outputs = convolution(images, kernel)
            loss = tf.reduce_sum(factors * outputs)
        return outputs, *tape.gradient(loss, [images, kernel])

    fast = outputs_and_gradients(conv_by_taps)
    stock = outputs_and_gradients(lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"))
    for one, other in zip(fast, stock, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="JAX differentiates on and on"
)
def test_fast_convolution_has_second_derivatives_both_ways(rng):
    import jax

    from keras_davidnet._backend.jax import convolution

    images = rng.normal(size=(2, 5, 5, 2)).astype("float32")
    kernel = rng.normal(size=(3, 3, 2, 3)).astype("float32")

    def curvature(convolution):
        def loss(kernel):
            return (convolution(images, kernel) ** 4).sum()

        forward = jax.jvp(jax.grad(loss), (kernel,), (kernel,))[1]
        backward = jax.grad(lambda k: (jax.grad(loss)(k) * kernel).sum())
        return forward, backward(kernel)

    fast = curvature(lambda x, k: convolution(x, k, (1, 1), "SAME"))
    stock = curvature(lambda x, k: keras.ops.conv(x, k, padding="same"))
    for one, other in zip(fast, stock, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-2)


def test_integer_dropout_keeps_each_element_at_its_rate_alone():
    # An odd count: two elements share a draw, the last has one to itself.
    ones = np.ones((401, 1001), "float32")
    steps = np.stack(steps_of(FastDropout(0.5), ones, 8))
    np.testing.assert_array_equal(np.unique(steps), [0, 2])
    kept = (steps.reshape(8, -1) > 0).astype(int)
    for distance in (1, 2, 3, 4):
        assert_uniform(2, kept[:, :-distance], kept[:, distance:])
    assert_uniform(2, kept[:-1], kept[1:])


@pytest.mark.parametrize("rate", [0.05, 0.9])
def test_integer_dropout_has_dropouts_mean_and_gradient(rng, rate):
    size = 2**18
    x = rng.uniform(1, 2, (1, size)).astype("float32")
    # Of x * weight, dropped and summed, the gradient is the output.
    model = keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.EinsumDense(
                "bn,n->bn", size, kernel_initializer="ones"
            ),
            FastDropout(rate),
        ]
    )
    model.compile(
        keras.optimizers.SGD(1.0), lambda _, outputs: keras.ops.sum(outputs)
    )
    total = model.train_on_batch(x, x)
    outputs = 1 - model.get_weights()[0]
    kept = outputs > 0
    deviate = (kept.sum() - size * (1 - rate)) / np.sqrt(
        size * rate * (1 - rate)
    )
    assert abs(deviate) < 4
    np.testing.assert_allclose(outputs, kept * x[0] / (1 - rate), rtol=1e-4)
    np.testing.assert_allclose(total, outputs.sum(dtype="float64"), rtol=1e-4)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="torch compiles nothing by XLA"
)
def test_integer_dropout_draws_alike_with_xla():
    ones = np.ones((33, 7, 5), "float32")
    eager = FastDropout(0.3, seed=1)
    np.testing.assert_array_equal(
        [numpy(eager(ones, training=True)) for _ in range(3)],
        steps_of(FastDropout(0.3, seed=1), ones, 3),
    )
