"""Images as arrays, and arrays as batches."""

from keras_davidnet.datasets.batches import (
    Batches as Batches,
    SyncEpoch as SyncEpoch,
    make_dataset as make_dataset,
)
from keras_davidnet.datasets.cifar import (
    CIFAR10_MEAN as CIFAR10_MEAN,
    CIFAR10_STD as CIFAR10_STD,
    load_cifar10 as load_cifar10,
)
from keras_davidnet.datasets.epoch_plan import EpochPlan as EpochPlan
from keras_davidnet.datasets.folder import load_folder as load_folder
