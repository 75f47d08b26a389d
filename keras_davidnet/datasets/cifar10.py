"""CIFAR-10 from the network, or from a file that somebody gave us."""

import os
import pathlib
import tarfile
import zipfile

import keras
import numpy as np

from keras_davidnet.datasets import safe_pickle

_SHAPES = {
    "x_train": (50_000, 32, 32, 3),
    "y_train": (50_000,),
    "x_test": (10_000, 32, 32, 3),
    "y_test": (10_000,),
}
_BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
# A batch file is 31 MB; an archive that says more is not the official one.
_LARGEST = 64_000_000

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
        for name, array in arrays.items():
            _check(name, array)
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
    return tuple((x, y.reshape(-1)) for x, y in (train, test))


def _read(path):
    if path.is_dir():
        return _from_batches(lambda name: (path / name).read_bytes())
    if zipfile.is_zipfile(path):
        return _from_npz(path)
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            members = {
                pathlib.PurePosixPath(member.name).name: member
                for member in archive
            }
            return _from_batches(
                lambda name: archive.extractfile(members[name]).read(_LARGEST)
            )
    raise ValueError("it is neither an .npz file nor a .tar.gz archive")


def _from_npz(path):
    with np.load(path, allow_pickle=False) as file:
        missing = sorted(_SHAPES.keys() - set(file.files))
        if missing:
            raise ValueError(
                f"there is no {', '.join(missing)}, only {file.files}"
            )
        arrays = {name: file[name] for name in _SHAPES}
    for name in ("y_train", "y_test"):
        # Keras's loader gives the labels as a column.
        if arrays[name].shape == (*_SHAPES[name], 1):
            arrays[name] = arrays[name].reshape(-1)
    return arrays


def _from_batches(read):
    images, labels = [], []
    for name in _BATCHES:
        try:
            batch = safe_pickle.loads(read(name))
            planes = batch[b"data"].numpy().reshape(-1, 3, 32, 32)
            images.append(planes.transpose(0, 2, 3, 1))
            labels.append(np.array(batch[b"labels"], "uint8"))
        except Exception as error:
            raise ValueError(f"{name} can not be read: {error!r}") from error
    return {
        "x_train": np.concatenate(images[:-1]),
        "y_train": np.concatenate(labels[:-1]),
        "x_test": np.ascontiguousarray(images[-1]),
        "y_test": labels[-1],
    }


def _check(name, array):
    if array.shape != _SHAPES[name] or array.dtype != "uint8":
        raise ValueError(
            f"{name} must be of shape {_SHAPES[name]} and dtype uint8. "
            f"Received: shape {array.shape}, dtype {array.dtype}"
        )
    if name.startswith("y_") and array.max() > 9:
        raise ValueError(
            f"{name} must hold labels in 0..9. Received: {array.max()}"
        )
