"""Optimizers."""

from keras_davidnet.optimizers.averaging import (
    ExponentialAverage as ExponentialAverage,
)
from keras_davidnet.optimizers.averaging import Lookahead as Lookahead
from keras_davidnet.optimizers.coupled_sgd import CoupledSGD as CoupledSGD
from keras_davidnet.optimizers.grouped import (
    GroupedOptimizer as GroupedOptimizer,
)
from keras_davidnet.optimizers.muon import Muon as Muon
from keras_davidnet.optimizers.pytorch_sgd import PyTorchSGD as PyTorchSGD
