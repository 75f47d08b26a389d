"""The trainers by name."""

from benchmarking.loops import loop
from benchmarking.plain import (
    CompiledPyTorch,
    PlainJax,
    PredictPyTorch,
    PyTorch,
)
from benchmarking.trainers import (
    Fit,
    FitAirbench,
    FitManySteps,
    FitWithoutAugmentation,
    MatrixProduct,
    OnnxRuntime,
    Pipeline,
    Predict,
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
    "predict": Predict,
    "predict by PyTorch": PredictPyTorch,
    "predict by ONNX Runtime": OnnxRuntime,
}
