"""The nets."""

from keras_davidnet.models.davidnet import DavidNet as DavidNet
