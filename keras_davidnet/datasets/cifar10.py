"""Loads CIFAR-10 by download or from a local file."""

import gzip
import io
import itertools
import math
import os
import pathlib
import tarfile
import zipfile

import keras
import numpy as np

from keras_davidnet.datasets import safe_pickle

# Mean and standard deviation of the training images per channel (red, green,
# blue), scaled to [0, 1].
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)

_SHAPES = {
    "y_test": (10_000,),
    "y_train": (50_000,),
    "x_test": (10_000, 32, 32, 3),
    "x_train": (50_000, 32, 32, 3),
}
_BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
# The official archive unpacks to 186 MB in 9 members; no more is read of a file
# that somebody made to fill the memory.
_LARGEST = 200_000_000
_MOST_MEMBERS = 100

Arrays = tuple[np.ndarray, np.ndarray]


def load_cifar10(
    path: str | os.PathLike | None = None,
) -> tuple[Arrays, Arrays]:
    """Loads CIFAR-10: 50,000 training and 10,000 test images.

    Args:
        path: None to download it through `keras.datasets.cifar10`, or to take
            it from Keras's cache.  Else an `.npz` file with the arrays
            `x_train`, `y_train`, `x_test` and `y_test`, or the official
            archive `cifar-10-python.tar.gz`, or the folder it unpacks to.  The
            official files are pickles; they are read without executing any.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images of shape `(n, 32, 32,
        3)` and labels of shape `(n,)` in 0..9, all uint8.

    Raises:
        ConnectionError: If `path` is None and the download fails.
        FileNotFoundError: If there is nothing at `path`.
        ValueError: If what is there is not CIFAR-10, whole and unharmed: a
            missing or wrong array, a truncated file, a pickled object.

    Example:

    ```python
    (x_train, y_train), (x_test, y_test) = load_cifar10("cifar10.npz")
    ```
    """
    if path is None:
        return _download()
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(
            "`path` must be an .npz file, the official CIFAR-10 archive or "
            f"its folder. Received: path={str(path)!r}, where there is nothing"
        )
    try:
        arrays = _read(path)
        for name in ("y_train", "y_test"):
            if arrays[name].max() > 9:
                raise ValueError(
                    f"{name} must hold labels in 0..9. "
                    f"Received: {arrays[name].max()}"
                )
    # Damaged zip, tar, gzip and pickle files fail in many ways.
    except Exception as error:
        raise ValueError(
            f"{path} does not hold CIFAR-10, whole and unharmed: {error}"
        ) from error
    return (
        (arrays["x_train"], arrays["y_train"]),
        (arrays["x_test"], arrays["y_test"]),
    )


def _download():
    try:
        train, test = keras.datasets.cifar10.load_data()
    # Keras raises a plain Exception where the network is out of reach.
    except Exception as error:
        raise ConnectionError(
            "CIFAR-10 could not be downloaded from "
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz "
            f"({error}). Get that archive, or an .npz file with x_train, "
            "y_train, x_test and y_test, and pass its path: "
            "load_cifar10(path)"
        ) from error
    (x_train, y_train), (x_test, y_test) = train, test
    return (x_train, y_train.reshape(-1)), (x_test, y_test.reshape(-1))


def _read(path):
    if path.is_dir():
        return _from_batches(lambda name: _read_file(path / name))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {name: _from_npz(archive, name) for name in _SHAPES}
    try:
        with gzip.open(path) as file:
            content = file.read(_LARGEST + 1)
    except gzip.BadGzipFile as error:
        raise ValueError(
            f"it is neither an .npz file nor a .tar.gz archive ({error})"
        ) from error
    if len(content) > _LARGEST:
        raise ValueError(f"it unpacks to more than {_LARGEST} bytes")
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        members = {
            pathlib.PurePosixPath(member.name).name: member
            for member in itertools.islice(archive, _MOST_MEMBERS)
            if member.isreg()
        }
        return _from_batches(
            # A regular file has content.
            lambda name: archive.extractfile(members[name]).read()  # pyright: ignore[reportOptionalMemberAccess]
        )


def _read_file(path):
    with open(path, "rb") as file:
        return file.read(_LARGEST)


def _from_npz(archive, name):
    """One array; nothing that its header claims is believed unchecked."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise ValueError(
            f"there is no {name}, only {archive.namelist()}"
        ) from None
    # The other kinds of compression are unpacked without a limit.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is not compressed as NumPy does")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} is of .npy version {version}, not (1, 0)")
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
        # Keras's loader gives the labels as a column.
        if shape == (*_SHAPES[name], 1):
            shape = _SHAPES[name]
        _check_type(name, shape, dtype)
        size = math.prod(shape)
        # One byte more: at its end a file's checksum is verified.
        data = file.read(size + 1)
    if len(data) != size:
        raise ValueError(f"{name} must be {size} bytes long")
    return np.frombuffer(bytearray(data), "uint8").reshape(
        shape, order="F" if by_column else "C"
    )


def _from_batches(read):
    images, labels = [], []
    for name in _BATCHES:
        try:
            batch = safe_pickle.loads(read(name))
            rows = batch[b"data"].numpy().reshape(10_000, 3, 32, 32)
            images.append(rows.transpose(0, 2, 3, 1))
            labels.append(_from_list(batch[b"labels"]))
        except Exception as error:
            raise ValueError(f"{name} cannot be read: {error!r}") from error
    return {
        "x_train": np.concatenate(images[:-1]),
        "y_train": np.concatenate(labels[:-1]),
        "x_test": np.ascontiguousarray(images[-1]),
        "y_test": labels[-1],
    }


def _from_list(labels):
    # A list of lists of lists could be of any size when it is unrolled.
    if not isinstance(labels, list) or len(labels) != 10_000:
        raise ValueError("there must be a list of 10,000 labels")
    return np.frombuffer(bytearray(labels), "uint8")


def _check_type(name, shape, dtype):
    if shape != _SHAPES[name] or dtype != "uint8":
        raise ValueError(
            f"{name} must be of shape {_SHAPES[name]} and dtype uint8. "
            f"Received: shape {shape}, dtype {dtype}"
        )
