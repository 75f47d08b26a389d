"""The trainers by name."""

from benchmarking.loops import loop
from benchmarking.plain import CompiledPyTorch, PlainJax, PyTorch
from benchmarking.trainers import (
    Fit,
    FitAirbench,
    FitManySteps,
    FitWithoutAugmentation,
    MatrixProduct,
    Pipeline,
)

METHODS = {
    "fit": Fit,
    "fit, 16 steps at once": FitManySteps,
    "fit Airbench": FitAirbench,
    "fit without augmentation": FitWithoutAugmentation,
    "bare loop": loop,
    "pipeline alone": Pipeline,
    "matrix product": MatrixProduct,
    "plain JAX": PlainJax,
    "PyTorch": PyTorch,
    "torch.compile": CompiledPyTorch,
}
