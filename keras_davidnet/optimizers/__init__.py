"""Optimizers, and those of the recipes: `davidnet_optimizer(...)`, ..."""

from keras_davidnet.optimizers.airbench import (
    airbench_optimizer as airbench_optimizer,
    airbench_sgd_optimizer as airbench_sgd_optimizer,
)
from keras_davidnet.optimizers.averaging import (
    ExponentialAverage as ExponentialAverage,
    Lookahead as Lookahead,
)
from keras_davidnet.optimizers.bag_of_tricks import (
    bag_of_tricks_optimizer as bag_of_tricks_optimizer,
)
from keras_davidnet.optimizers.davidnet import (
    davidnet_optimizer as davidnet_optimizer,
)
from keras_davidnet.optimizers.grouped import (
    GroupedOptimizer as GroupedOptimizer,
)
from keras_davidnet.optimizers.muon import Muon as Muon
from keras_davidnet.optimizers.navier_stoked import (
    navier_stoked_optimizer as navier_stoked_optimizer,
)
from keras_davidnet.optimizers.sgd import (
    CoupledSGD as CoupledSGD,
    PyTorchSGD as PyTorchSGD,
)
