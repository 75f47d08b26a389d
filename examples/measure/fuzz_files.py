"""Damages files in many ways and loads them: CIFAR-10's, or a saved DavidNet.

    python examples/measure/fuzz_files.py cifar10 --runs 2000
    python examples/measure/fuzz_files.py model --runs 500

Each load must end in an exception or in the right data, soon and without
filling the memory; anything else ends the program.  The exceptions of
`load_cifar10` must be ValueErrors.  Those of Keras's loader are its own: they
are counted.
"""

import argparse
import collections
import functools
import gzip
import io
import os
import pathlib
import pickle
import resource
import struct
import tarfile
import tempfile
import time
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_davidnet import DavidNet, datasets

IMAGE, LABEL = 7, 3  # of every image of the undamaged files
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
SIZES = [0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutate(content, rng):
    """One of several kinds of damage, at a random place."""
    data = bytearray(content)
    # Headers and directories are at the ends; half of the damage goes there.
    ends = rng.random() < 0.5
    near = min(len(data), 2048)
    at = int(rng.integers(near if ends else len(data)))
    if ends and rng.random() < 0.5:
        at = len(data) - 1 - at
    length = int(rng.integers(1, 64))
    kind = rng.choice(["flip", "cut", "drop", "repeat", "move", "size"])
    if kind == "flip":
        for _ in range(rng.integers(1, 9)):
            data[at] ^= 1 << int(rng.integers(8))
            at = min(at + int(rng.integers(1, 99)), len(data) - 1)
    elif kind == "cut":
        del data[at:]
    elif kind == "drop":
        del data[at : at + length]
    elif kind == "repeat":
        data[at:at] = data[at : at + length] * int(rng.integers(1, 9))
    elif kind == "move":
        source = int(rng.integers(len(data)))
        data[at : at + length] = data[source : source + length]
    else:
        size = struct.pack("<I", int(rng.choice(SIZES)))
        data[at : at + 4] = size if rng.random() < 0.5 else size[::-1]
    return kind, bytes(data)


@functools.cache
def npz():
    """An .npz file."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        x_train=np.full((50_000, 32, 32, 3), IMAGE, "uint8"),
        y_train=np.full(50_000, LABEL, "uint8"),
        x_test=np.full((10_000, 32, 32, 3), IMAGE, "uint8"),
        y_test=np.full(10_000, LABEL, "uint8"),
    )
    return file.getvalue()


@functools.cache
def batch():
    """A file of the official archive."""
    content = {
        b"batch_label": b"a batch",
        b"labels": [LABEL] * 10_000,
        b"data": np.full((10_000, 3072), IMAGE, "uint8"),
    }
    return pickle.dumps(content, protocol=3)


@functools.cache
def archive():
    """The official archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as archive:
        for name in BATCHES:
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(batch())
            archive.addfile(info, io.BytesIO(batch()))
    return file.getvalue()


def damaged_file(ending, whole):
    """A file damaged as it lies on the disk."""

    def damage(folder, rng):
        path = folder / f"damaged.{ending}"
        kind, content = mutate(whole(), rng)
        path.write_bytes(content)
        return f"{ending}, {kind}", path

    return damage


def damaged_array(folder, rng):
    """An array damaged before it is packed, so that the checksum is right."""
    path = folder / "array.npz"
    with zipfile.ZipFile(io.BytesIO(npz())) as file:
        name = str(rng.choice(["y_train", "y_test"]))
        kind, content = mutate(file.read(f"{name}.npy"), rng)
    with zipfile.ZipFile(path, "w") as file:
        for other in ("y_train", "y_test", "x_test", "x_train"):
            file.writestr(f"{other}.npy", content)
    return f"array in npz, {kind}", path


def damaged_header(folder, rng):
    """A tar damaged before it is compressed."""
    path = folder / "header.tar.gz"
    kind, content = mutate(gzip.decompress(archive())[:4096], rng)
    path.write_bytes(gzip.compress(content, compresslevel=1))
    return f"tar in gz, {kind}", path


def damaged_folder(folder, rng):
    """A pickle has no checksum: damaged pixels are pixels all the same."""
    path = folder / "batches"
    path.mkdir(exist_ok=True)
    for name in BATCHES:
        if not (path / name).exists():
            (path / name).write_bytes(batch())
    kind, content = mutate(batch(), rng)
    # The first, so that the others need not be read.
    (path / BATCHES[0]).write_bytes(content)
    return f"batch, {kind}", path


def load_cifar10(path):
    """Whether the data are right; or a ValueError."""
    arrays = datasets.load_cifar10(path)
    shapes = [array.shape for pair in arrays for array in pair]
    image, label = (50_000, 32, 32, 3), (50_000,)
    assert shapes == [image, label, (10_000, *image[1:]), (10_000,)]
    if path.is_dir():
        return
    for images, labels in arrays:
        assert (images == IMAGE).all() and (labels == LABEL).all()


DAMAGES = [
    damaged_file("npz", npz),
    damaged_array,
    damaged_file("tar.gz", archive),
    damaged_header,
    damaged_folder,
]


def fuzz_cifar10(folder, runs, seed=0):
    """Yields what was done, how it ended and how long it took."""
    rng = np.random.default_rng(seed)
    for name, content in (("whole.npz", npz()), ("whole.tar.gz", archive())):
        (folder / name).write_bytes(content)
        load_cifar10(folder / name)
    for run in range(runs):
        what, path = DAMAGES[run % len(DAMAGES)](folder, rng)
        start = time.perf_counter()
        try:
            load_cifar10(path)
            outcome = "loaded"
        except ValueError:
            outcome = "ValueError"
        yield what, outcome, time.perf_counter() - start


def fuzz_model(folder, runs, seed=0):
    rng = np.random.default_rng(seed)
    model = DavidNet(width=1, augmentation=None)
    model.compile()
    model.save(folder / "whole.keras")
    whole = (folder / "whole.keras").read_bytes()
    state = [w.numpy() for w in (*model.weights, *model.optimizer.variables)]
    path = folder / "damaged.keras"
    for _ in range(runs):
        kind, content = mutate(whole, rng)
        path.write_bytes(content)
        start = time.perf_counter()
        try:
            loaded = keras.saving.load_model(path)
        except Exception as error:
            outcome = type(error).__name__
        else:
            outcome = "loaded"
            for one, other in zip(
                state,
                (*loaded.weights, *loaded.optimizer.variables),
                strict=True,
            ):
                np.testing.assert_array_equal(one, other.numpy())
        keras.backend.clear_session()
        yield f"keras, {kind}", outcome, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["cifar10", "model"])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    fuzz = {"cifar10": fuzz_cifar10, "model": fuzz_model}[args.what]
    counts, longest = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for what, outcome, seconds in fuzz(folder, args.runs, args.seed):
            counts[what, outcome] += 1
            longest = max(longest, seconds)
    print("| damage | outcome | files |\n| --- | --- | --- |")
    for (what, outcome), count in sorted(counts.items()):
        print(f"| {what} | {outcome} | {count} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nLongest load: {longest:.1f} s. Peak memory: {peak:.2f} GiB.")


if __name__ == "__main__":
    main()
