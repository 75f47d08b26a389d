"""CIFAR-10 as arrays, and arrays as `tf.data` pipelines."""

from keras_davidnet.datasets.cifar10 import load_cifar10 as load_cifar10
from keras_davidnet.datasets.pipelines import make_dataset as make_dataset
from keras_davidnet.datasets.pipelines import (
    make_host_dataset as make_host_dataset,
)
