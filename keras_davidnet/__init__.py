"""Parts for training small image nets fast, grown from DavidNet."""

from keras_davidnet import datasets as datasets
from keras_davidnet import recipes as recipes
from keras_davidnet.callbacks import (
    DecoupledWeightDecay as DecoupledWeightDecay,
)
from keras_davidnet.callbacks import Resume as Resume
from keras_davidnet.initializers import PyTorchUniform as PyTorchUniform
from keras_davidnet.layers import ConvBN as ConvBN
from keras_davidnet.layers import ResBlock as ResBlock
from keras_davidnet.layers.augmentation import RandomCutout as RandomCutout
from keras_davidnet.layers.augmentation import (
    RandomHorizontalFlip as RandomHorizontalFlip,
)
from keras_davidnet.layers.augmentation import RandomPadCrop as RandomPadCrop
from keras_davidnet.models import DavidNet as DavidNet
from keras_davidnet.optimizers import PyTorchSGD as PyTorchSGD
from keras_davidnet.schedules import PiecewiseLinear as PiecewiseLinear

__version__ = "0.1.0"
