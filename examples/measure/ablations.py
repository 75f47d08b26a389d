"""What does each trick bring?  Trains small nets with it and without it.

    python examples/measure/ablations.py --data cifar10.npz

Recipes with narrow nets and three epochs, as they are and with one part
changed, under the same seeds.  The same command continues where it was stopped.
`ablations.json` has the accuracies of all, from which
examples/measure/tables.py makes the table of docs/results/ablations.md.
"""

import argparse
import pathlib

import keras
import machine
import numpy as np
import runs

from keras_davidnet import datasets, optimizers, recipes
from keras_davidnet.initializers import PyTorchUniform
from keras_davidnet.models import Airbench, DavidNet
from keras_davidnet.optimizers import PyTorchSGD

EPOCHS = 3


@keras.saving.register_keras_serializable("ablations")
class NoisyAirbench(Airbench):
    """Its first filters are orthogonal, but whiten no image."""

    def adapt(self, images):
        rng = np.random.default_rng(0)
        shape = 5000, *self.input_shape[1:]
        super().adapt(rng.integers(0, 256, shape, "uint8"))


class InitializedAnew:
    """Its convolutions begin with kernels of `initializer`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # It is built after this.
        for layer in self._flatten_layers():
            if isinstance(layer, keras.layers.Conv2D):
                layer.kernel_initializer = self.initializer()


@keras.saving.register_keras_serializable("ablations")
class RandomAirbench(InitializedAnew, Airbench):
    initializer = PyTorchUniform


@keras.saving.register_keras_serializable("ablations")
class GlorotDavidNet(InitializedAnew, DavidNet):
    initializer = keras.initializers.GlorotUniform


def without_lookahead(steps_per_epoch, epochs, batch_size):
    return optimizers.airbench_sgd_optimizer(
        steps_per_epoch, epochs, batch_size
    ).inner_optimizer


def constant_rate(steps_per_epoch, epochs, batch_size):
    return PyTorchSGD(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)


NARROW = {
    "davidnet": {"width": 8},
    "bag_of_tricks": {"width": 8},
    "airbench94_muon": {"widths": (32, 64, 64)},
    "airbench94": {"widths": (32, 64, 64)},
}
# The recipe's own rate ends high, and averages 500 steps; so short a run then
# ends anywhere.
ANNEALED = {"make_optimizer": optimizers.davidnet_optimizer}
# The first of each is what the others are compared with.
CHANGES = {
    "davidnet": {
        "baseline": {},
        "Glorot's initialization instead of PyTorch's": {"net": GlorotDavidNet},
        "no cutout": {"augmentation": "crop_flip"},
        "constant learning rate of 0.1": {"make_optimizer": constant_rate},
    },
    "bag_of_tricks": {
        "baseline, with `davidnet`'s optimizer": ANNEALED,
        "same, with ordinary batch normalization": {**ANNEALED, "groups": 1},
        "same, with CELU(0.001), almost ReLU": {**ANNEALED, "alpha": 0.001},
    },
    "airbench94_muon": {
        "baseline": {},
        "random orthogonal first filters, no whitening": {"net": NoisyAirbench},
        "PyTorch's initialization instead of identities": {
            "net": RandomAirbench
        },
        "random flip instead of alternating flip": {
            "alternating_flip": False,
            "augmentation": "crop2_flip",
        },
        "no label smoothing": {"label_smoothing": 0.0},
    },
    "airbench94": {
        "baseline": {},
        "no Lookahead": {"make_optimizer": without_lookahead},
        "biases with the learning rate of the kernels": {"bias_scale": 1.0},
    },
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data", help="path of CIFAR-10; without it, it is downloaded"
    )
    parser.add_argument("--seeds", type=runs.seeds, default="0-1")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--output", type=pathlib.Path, default="runs/ablations")
    args = parser.parse_args()
    train, test = datasets.load_cifar10(args.data)
    accuracy = {name: {} for name in CHANGES}
    for name, changes in CHANGES.items():
        for index, (change, changed) in enumerate(changes.items()):
            print(f"{name}, {change}", flush=True)
            recipe = recipes.get(name).replace(
                **{"epochs": args.epochs, **NARROW[name], **changed}
            )
            folder = args.output / f"{name}-{index}"
            results = runs.run_seeds(recipe, args.seeds, train, test, folder)
            accuracy[name][change] = {r["seed"]: r["accuracy"] for r in results}
    runs.write(
        args.output / "ablations.json",
        {
            "accuracy": accuracy,
            "nets": NARROW,
            "epochs": args.epochs,
            "versions": machine.versions(),
            "processor": machine.processor(),
        },
    )


if __name__ == "__main__":
    main()
