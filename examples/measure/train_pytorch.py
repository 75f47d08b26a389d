"""Trains the PyTorch DavidNet on CIFAR-10: the reference of our accuracy.

    python examples/measure/train_pytorch.py --width 16 --epochs 5

The recipe and the report are those of `train_cifar10.py`; the net, the
augmentation, the optimizer and the loop are PyTorch's.  It needs the extra
`torch`.
"""

import argparse
import json
import os
import pathlib
import time

# Of the package only the data are used here.
os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch
from plain.pytorch_davidnet import (
    DavidNet,
    make_optimizer,
    normalize,
    train_one_epoch,
)
from torch.nn.functional import cross_entropy

from keras_davidnet import datasets


@torch.no_grad()
def evaluate(model, images, labels):
    model.eval()
    logits = torch.cat([model(normalize(part)) for part in images.split(1000)])
    loss = cross_entropy(logits, labels).item()
    return loss, (logits.argmax(1) == labels).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="path of CIFAR-10")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default="runs/pytorch")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    (x_train, y_train), (x_test, y_test) = (
        (torch.tensor(x), torch.tensor(y).long().flatten())
        for x, y in datasets.load_cifar10(args.data)
    )
    steps = len(x_train) // args.batch_size
    peak = (args.epochs + 1) // 5 or args.epochs / 5
    knots = [0, peak * steps, args.epochs * steps]
    model = DavidNet(args.width).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model)
    args.output.mkdir(parents=True, exist_ok=True)
    history = {}
    start = time.perf_counter()
    for epoch in range(args.epochs):
        rates = np.interp(
            epoch * steps + np.arange(steps), knots, [0, 0.4, 0]
        ).tolist()
        loss, accuracy = train_one_epoch(
            model, optimizer, x_train, y_train, args.batch_size, rates
        )
        val_loss, val_accuracy = evaluate(model, x_test, y_test)
        logs = {
            "loss": loss,
            "accuracy": accuracy,
            "learning_rate": rates[-1],
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
        }
        print(
            f"epoch {epoch + 1}",
            *(f"{name} {value:.4f}" for name, value in logs.items()),
            flush=True,
        )
        for name, value in logs.items():
            history.setdefault(name, []).append(value)
    seconds = time.perf_counter() - start

    report = {
        "torch": torch.__version__,
        "seconds": seconds,
        **{name: str(value) for name, value in vars(args).items()},
        **history,
    }
    (args.output / "history.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
