"""The building blocks of DavidNet, ready for nets of other shapes."""

from keras_davidnet.layers.conv_bn import ConvBN as ConvBN
from keras_davidnet.layers.res_block import ResBlock as ResBlock
