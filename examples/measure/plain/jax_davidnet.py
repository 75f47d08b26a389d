"""DavidNet in plain JAX: what the package is measured against on JAX.

Written from the recipe, with nothing of Keras in it: convolutions, pooling and
random numbers are those of `jax.lax` and `jax.random`.  The tests compare the
two nets number by number, and `benchmark.py` times this one.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax, random

# Of CIFAR-10's training set, for images in 0..1.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
MOMENTUM, DECAY = 0.9, 5e-4


def initialize(key, width: int):
    """The weights, in Keras's order, and the moving statistics."""
    sizes = [3] + [width * n for n in (1, 2, 2, 2, 4, 8, 8, 8)]
    weights, statistics = [], []
    for inputs, filters in zip(sizes, sizes[1:], strict=False):
        key, draw = random.split(key)
        bound = (9 * inputs) ** -0.5
        shape = 3, 3, inputs, filters
        weights += [
            random.uniform(draw, shape, minval=-bound, maxval=bound),
            jnp.ones(filters),
            jnp.zeros(filters),
        ]
        statistics += [jnp.zeros(filters), jnp.ones(filters)]
    bound = sizes[-1] ** -0.5
    shape = sizes[-1], 10
    head = random.uniform(key, shape, minval=-bound, maxval=bound)
    return [*weights, head], statistics


def pool(x):
    """Of 2x2 pixels the largest."""
    window = 1, 2, 2, 1
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def logits_and_statistics(weights, statistics, x, key, dropout=0.05):
    """Of normalised images, in training."""
    *weights, head = weights
    triples = zip(*[iter(weights)] * 3, strict=True)
    pairs = zip(*[iter(statistics)] * 2, strict=True)
    keys = iter(random.split(key, 8))
    new = []

    def conv_bn(x):
        kernel, gamma, beta = next(triples)
        x = lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if dropout:
            kept = random.bernoulli(next(keys), 1 - dropout, x.shape)
            x = jnp.where(kept, x / (1 - dropout), 0)
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        for old, batch in zip(next(pairs), (mean, variance), strict=True):
            new.append(0.9 * old + 0.1 * batch)
        x = (x - mean) * lax.rsqrt(variance + 1e-5) * gamma + beta
        return jnp.maximum(x, 0)

    x = conv_bn(x)
    for residual in (True, False, True):
        x = pool(conv_bn(x))
        if residual:
            x = x + conv_bn(conv_bn(x))
    return 0.125 * x.max((1, 2)) @ head, new


def normalize(images):
    return (images / 255 - jnp.array(MEAN)) / jnp.array(STD)


def crop_and_flip(key, x, padding: int = 4):
    """Reflect-pads, crops at a random place and flips, image by image."""
    batch, height, width, _ = x.shape
    pads = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    padded = jnp.pad(x, pads, mode="reflect")
    places, flips = random.split(key)
    top, left = random.randint(places, (2, batch, 1), 0, 2 * padding + 1)
    rows = top + jnp.arange(height)
    columns = left + jnp.arange(width)
    flipped = random.bernoulli(flips, 0.5, (batch, 1))
    columns = jnp.where(flipped, columns[:, ::-1], columns)
    image = jnp.arange(batch)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]]


@functools.partial(jax.jit, donate_argnums=0)
def train_step(state, images, labels, rate):
    """One step of SGD with Nesterov's momentum and coupled decay.

    The state is weights, velocities, moving statistics and a random key.
    """
    weights, velocities, statistics, key = state
    key, augmentation, dropout = random.split(key, 3)
    x = crop_and_flip(augmentation, normalize(images))

    def loss_and_rest(weights):
        logits, new = logits_and_statistics(weights, statistics, x, dropout)
        rows = jnp.arange(len(labels))
        loss = -jax.nn.log_softmax(logits)[rows, labels].mean()
        return loss, ((logits.argmax(1) == labels).mean(), new)

    (loss, (hits, statistics)), gradients = jax.value_and_grad(
        loss_and_rest, has_aux=True
    )(weights)
    gradients = [g + DECAY * w for g, w in zip(gradients, weights, strict=True)]
    velocities = [
        MOMENTUM * v + g for v, g in zip(velocities, gradients, strict=True)
    ]
    weights = [
        w - rate * (g + MOMENTUM * v)
        for w, g, v in zip(weights, gradients, velocities, strict=True)
    ]
    return (weights, velocities, statistics, key), (loss, hits)
