"""CIFAR-10 as arrays, and arrays as batches."""

from keras_davidnet.datasets.batches import Batches as Batches
from keras_davidnet.datasets.cifar10 import (
    CIFAR10_MEAN as CIFAR10_MEAN,
    CIFAR10_STD as CIFAR10_STD,
    load_cifar10 as load_cifar10,
)
from keras_davidnet.datasets.make_dataset import make_dataset as make_dataset
from keras_davidnet.datasets.plan import EpochPlan as EpochPlan
