"""Train small image nets fast and exactly in Keras."""

from keras_davidnet import (
    datasets as datasets,
    evidence as evidence,
    optimizers as optimizers,
    presets as presets,
    recipes as recipes,
)
from keras_davidnet.callbacks import (
    DecoupledWeightDecay as DecoupledWeightDecay,
    ExampleLog as ExampleLog,
    LearningRateFinder as LearningRateFinder,
    ProgressiveResizing as ProgressiveResizing,
    Resume as Resume,
)
from keras_davidnet.initializers import (
    Dirac as Dirac,
    PyTorchUniform as PyTorchUniform,
)
from keras_davidnet.layers import (
    CELU as CELU,
    ConvBN as ConvBN,
    ConvGroup as ConvGroup,
    GhostBatchNormalization as GhostBatchNormalization,
    GhostBlock as GhostBlock,
    RandomCutout as RandomCutout,
    RandomHorizontalFlip as RandomHorizontalFlip,
    RandomPadCrop as RandomPadCrop,
    ResBlock as ResBlock,
    WhiteningConv2D as WhiteningConv2D,
)
from keras_davidnet.models import (
    Airbench as Airbench,
    DavidNet as DavidNet,
    ImageClassifier as ImageClassifier,
    NavierStoked as NavierStoked,
    WhitenedDavidNet as WhitenedDavidNet,
)
from keras_davidnet.optimizers import (
    CoupledSGD as CoupledSGD,
    ExponentialAverage as ExponentialAverage,
    GroupedOptimizer as GroupedOptimizer,
    Lookahead as Lookahead,
    Muon as Muon,
    PyTorchSGD as PyTorchSGD,
)
from keras_davidnet.predictions import (
    decode_predictions as decode_predictions,
)
from keras_davidnet.schedules import PiecewiseLinear as PiecewiseLinear

__version__ = "0.2.0"
