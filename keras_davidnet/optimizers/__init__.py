"""Optimizers."""

from keras_davidnet.optimizers.pytorch_sgd import PyTorchSGD as PyTorchSGD
