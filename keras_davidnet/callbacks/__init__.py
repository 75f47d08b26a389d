"""Callbacks."""

from keras_davidnet.callbacks.example_log import ExampleLog as ExampleLog
from keras_davidnet.callbacks.lr_finder import (
    LearningRateFinder as LearningRateFinder,
)
from keras_davidnet.callbacks.progressive_resizing import (
    ProgressiveResizing as ProgressiveResizing,
)
from keras_davidnet.callbacks.resume import Resume as Resume
from keras_davidnet.callbacks.weight_decay import (
    DecoupledWeightDecay as DecoupledWeightDecay,
)
