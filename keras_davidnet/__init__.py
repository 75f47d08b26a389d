"""Parts for training small image nets fast, grown from DavidNet."""

from keras_davidnet.augmentation import RandomCutout as RandomCutout
from keras_davidnet.augmentation import RandomPadCrop as RandomPadCrop
from keras_davidnet.initializers import PyTorchUniform as PyTorchUniform
from keras_davidnet.layers import ConvBN as ConvBN
from keras_davidnet.layers import ResBlock as ResBlock

__version__ = "0.1.0"
