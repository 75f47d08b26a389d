"""Single training steps on random images."""

import numpy as np
import tensorflow as tf


def random_data(rng: np.random.Generator, count: int):
    images = rng.integers(0, 256, (count, 32, 32, 3), "uint8")
    return images, rng.integers(0, 10, count)


def keras_step(recipe, size, images, labels):
    """A step of the recipe, as a function of nothing."""
    model = recipe.model()
    model.training_size = size
    model.adapt(images)
    model.compile(recipe.optimizer(steps_per_epoch=25))
    batch = tf.constant(images), tf.constant(labels)
    return lambda: model.train_on_batch(*batch)
