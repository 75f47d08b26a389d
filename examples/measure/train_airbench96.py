"""Trains airbench96 in plain PyTorch: the reference of our accuracy.

    python examples/measure/train_airbench96.py --epochs 4 --seed 0

In bfloat16, by autocast.  Leaves `seed-N.json`, as `runs.py airbench96 --set
epochs=4 --precision mixed_bfloat16` does for the package.  It needs the extra
`torch`.
"""

import argparse
import json
import os
import pathlib
import time

# Of the package only the data are used here.
os.environ["KERAS_BACKEND"] = "torch"

import machine
import torch
from plain.pytorch_airbench96 import accuracy_by_views, make_net, train

from keras_davidnet import datasets


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="path of CIFAR-10; or it is downloaded")
    parser.add_argument("--epochs", type=int, default=37)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=pathlib.Path, default="runs/plain-airbench96"
    )
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    (x_train, y_train), (x_test, y_test) = (
        (torch.tensor(x), torch.tensor(y).long().flatten())
        for x, y in datasets.load_cifar10(args.data)
    )
    net = make_net(x_train[:5000])
    history = {"loss": [], "accuracy": [], "seconds": []}
    begin = time.perf_counter()
    for loss, accuracy in train(net, x_train, y_train, args.epochs):
        seconds = time.perf_counter() - begin
        print(f"loss {loss:.4f} accuracy {accuracy:.4f} {seconds:.0f} s")
        history["loss"].append(loss)
        history["accuracy"].append(accuracy)
        history["seconds"].append(seconds - sum(history["seconds"]))
    report = {
        "seed": args.seed,
        "precision": "bfloat16",
        "accuracy": accuracy_by_views(net, x_test, y_test),
        "seconds": {"training": sum(history["seconds"])},
        "history": history,
        "versions": machine.versions(),
        "hardware": machine.hardware("torch"),
    }
    print(report["accuracy"])
    path = args.output / f"seed-{args.seed}.json"
    path.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
