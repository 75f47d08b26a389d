"""The nets."""

from keras_davidnet.models.airbench import Airbench as Airbench
from keras_davidnet.models.bag_of_tricks import (
    WhitenedDavidNet as WhitenedDavidNet,
)
from keras_davidnet.models.davidnet import DavidNet as DavidNet
from keras_davidnet.models.image_classifier import (
    ImageClassifier as ImageClassifier,
)
from keras_davidnet.models.navier_stoked import NavierStoked as NavierStoked
