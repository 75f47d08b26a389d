"""Train small image nets fast and exactly in Keras."""

from keras_davidnet import datasets as datasets
from keras_davidnet import presets as presets
from keras_davidnet import recipes as recipes
from keras_davidnet.callbacks import (
    DecoupledWeightDecay as DecoupledWeightDecay,
)
from keras_davidnet.callbacks import LearningRateFinder as LearningRateFinder
from keras_davidnet.callbacks import ProgressiveResizing as ProgressiveResizing
from keras_davidnet.callbacks import Resume as Resume
from keras_davidnet.initializers import Dirac as Dirac
from keras_davidnet.initializers import PyTorchUniform as PyTorchUniform
from keras_davidnet.layers import CELU as CELU
from keras_davidnet.layers import ConvBN as ConvBN
from keras_davidnet.layers import ConvGroup as ConvGroup
from keras_davidnet.layers import (
    GhostBatchNormalization as GhostBatchNormalization,
)
from keras_davidnet.layers import GhostBlock as GhostBlock
from keras_davidnet.layers import RandomCutout as RandomCutout
from keras_davidnet.layers import RandomHorizontalFlip as RandomHorizontalFlip
from keras_davidnet.layers import RandomPadCrop as RandomPadCrop
from keras_davidnet.layers import ResBlock as ResBlock
from keras_davidnet.layers import WhiteningConv2D as WhiteningConv2D
from keras_davidnet.models import Airbench as Airbench
from keras_davidnet.models import DavidNet as DavidNet
from keras_davidnet.models import ImageClassifier as ImageClassifier
from keras_davidnet.models import WhitenedDavidNet as WhitenedDavidNet
from keras_davidnet.optimizers import CoupledSGD as CoupledSGD
from keras_davidnet.optimizers import ExponentialAverage as ExponentialAverage
from keras_davidnet.optimizers import GroupedOptimizer as GroupedOptimizer
from keras_davidnet.optimizers import Lookahead as Lookahead
from keras_davidnet.optimizers import Muon as Muon
from keras_davidnet.optimizers import PyTorchSGD as PyTorchSGD
from keras_davidnet.schedules import PiecewiseLinear as PiecewiseLinear

__version__ = "0.2.0"
