"""Images a second that `fit` gets from other libraries' data sets.

The net is next to nothing, so the time is that of the data.  The sources take
turns; the median and the range over the rounds are printed.

    pip install ".[test,torch]" grain datasets pillow
    python examples/measure/data_sources.py --rounds 5
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import datasets as hugging_face
import grain
import keras
import numpy as np
import tensorflow as tf
import torch

from keras_davidnet.datasets import make_dataset

N, BATCH = 5120, 512


class PairDataset(torch.utils.data.Dataset):
    """Raw images and labels, one pair an index."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def write_png(folder, images, labels):
    for name in set(labels.tolist()):
        (folder / str(name)).mkdir()
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        keras.utils.save_img(
            folder / str(label) / f"{i}.png", image, scale=False
        )


def sources(x, y, folder):
    """Data for `fit` by name, shuffled, in batches."""
    pairs = PairDataset(x, y)
    # As the hub has it: encoded images.
    table = hugging_face.Dataset.from_dict(
        {"image": list(x), "label": y},
        hugging_face.Features(
            image=hugging_face.Image(), label=hugging_face.Value("int64")
        ),
    ).with_format("numpy")
    return {
        "arrays": (x, y),
        "make_dataset": (make_dataset(x, y, BATCH, training=True, seed=0),),
        "Hugging Face, read at once": (
            make_dataset(
                np.asarray(table["image"][:], "uint8"),
                np.asarray(table["label"][:]),
                BATCH,
                training=True,
                seed=0,
            ),
        ),
        "Hugging Face, to_tf_dataset": (
            table.to_tf_dataset(
                BATCH, columns="image", label_cols="label", shuffle=True
            ),
        ),
        "tf.data": (
            tf.data.Dataset.from_tensor_slices((x, y)).shuffle(N).batch(BATCH),
        ),
        "Grain": (
            grain.MapDataset.source(pairs).seed(0).shuffle().batch(BATCH),
        ),
        "torch DataLoader": (
            torch.utils.data.DataLoader(pairs, BATCH, shuffle=True),
        ),
        "image_dataset_from_directory": (
            keras.utils.image_dataset_from_directory(
                folder, image_size=(32, 32), batch_size=BATCH, verbose=False
            ),
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, 32, 32, 3), "uint8")
    y = rng.integers(0, 10, N)
    net = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    with tempfile.TemporaryDirectory() as folder:
        write_png(pathlib.Path(folder), x, y)
        data = sources(x, y, folder)
        rates = {name: [] for name in data}
        for _ in range(rounds + 1):
            for name, arguments in data.items():
                begin = time.perf_counter()
                net.fit(*arguments, batch_size=BATCH, verbose=0)
                rates[name].append(N / (time.perf_counter() - begin))
    print(f"{keras.backend.backend()}, {rounds} rounds")
    for name, values in rates.items():
        values = values[1:]  # the first one compiles
        print(
            f"{name:30} {statistics.median(values):9,.0f} images/s "
            f"({min(values):,.0f} to {max(values):,.0f})"
        )


if __name__ == "__main__":
    main()
