"""The published recipes."""

from keras_davidnet.datasets.cifar10 import CIFAR10_MEAN as CIFAR10_MEAN
from keras_davidnet.datasets.cifar10 import CIFAR10_STD as CIFAR10_STD
from keras_davidnet.models.davidnet import (
    davidnet_optimizer as davidnet_optimizer,
)
