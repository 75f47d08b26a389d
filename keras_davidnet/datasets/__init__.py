"""Images as arrays, and arrays as batches."""

from keras_davidnet.datasets.batches import (
    Batches as Batches,
    SyncEpoch as SyncEpoch,
    make_dataset as make_dataset,
)
from keras_davidnet.datasets.cifar import (
    CIFAR10_CLASSES as CIFAR10_CLASSES,
    CIFAR10_MEAN as CIFAR10_MEAN,
    CIFAR10_STD as CIFAR10_STD,
    CIFAR100_CLASSES as CIFAR100_CLASSES,
    CIFAR100_COARSE_CLASSES as CIFAR100_COARSE_CLASSES,
    CIFAR100_MEAN as CIFAR100_MEAN,
    CIFAR100_STD as CIFAR100_STD,
    load_cifar10 as load_cifar10,
    load_cifar100 as load_cifar100,
)
from keras_davidnet.datasets.epoch_plan import EpochPlan as EpochPlan
from keras_davidnet.datasets.folder import load_folder as load_folder
