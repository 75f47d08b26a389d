"""The building blocks of the nets, ready for nets of other shapes."""

from keras_davidnet.layers.augmentation import (
    RandomCutout as RandomCutout,
    RandomHorizontalFlip as RandomHorizontalFlip,
    RandomPadCrop as RandomPadCrop,
)
from keras_davidnet.layers.celu import CELU as CELU
from keras_davidnet.layers.conv_bn import ConvBN as ConvBN
from keras_davidnet.layers.conv_group import ConvGroup as ConvGroup
from keras_davidnet.layers.ghost_batch_norm import (
    GhostBatchNormalization as GhostBatchNormalization,
)
from keras_davidnet.layers.ghost_block import GhostBlock as GhostBlock
from keras_davidnet.layers.res_block import ResBlock as ResBlock
from keras_davidnet.layers.whitening import WhiteningConv2D as WhiteningConv2D
