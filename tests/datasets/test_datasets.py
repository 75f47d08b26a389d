import dataclasses
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile

import keras
import numpy as np
import pytest

from keras_davidnet import datasets
from keras_davidnet.datasets import cifar

FILES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
TRAIN, TEST = 50, 10


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """CIFAR-10 has 60 images here."""
    dataset = dataclasses.replace(
        cifar._CIFAR10, num_train=TRAIN, num_test=TEST
    )
    monkeypatch.setattr(cifar, "_CIFAR10", dataset)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (TRAIN + TEST, 32, 32, 3), "uint8")
    labels = (np.arange(TRAIN + TEST) % 10).astype("uint8")
    return {
        "x_train": images[:TRAIN],
        "y_train": labels[:TRAIN],
        "x_test": images[TRAIN:],
        "y_test": labels[TRAIN:],
    }


def assert_loaded(path, arrays):
    (x_train, y_train), (x_test, y_test) = datasets.load_cifar10(path)
    for name, array in {
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
    }.items():
        assert array.dtype == "uint8"
        np.testing.assert_array_equal(array, arrays[name])


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, as the official files have them."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        data = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


def dump(batch):
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(batch)
    # The module's name in the NumPy of that day.
    return buffer.getvalue().replace(b"numpy._core.", b"numpy.core.")


def official_files(arrays):
    """The bytes of the official archive's files, by name."""
    images = np.concatenate([arrays["x_train"], arrays["x_test"]])
    labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    rows = images.transpose(0, 3, 1, 2).reshape(-1, 3072)
    return {
        name: dump(
            {
                b"batch_label": name.encode(),
                b"data": rows[i * TEST : (i + 1) * TEST],
                b"labels": labels[i * TEST : (i + 1) * TEST].tolist(),
            }
        )
        for i, name in enumerate(FILES)
    }


def write_archive(path, files, monkeypatch):
    """The official archive's structure; its hash is the one expected then."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    dataset = dataclasses.replace(cifar._CIFAR10, sha256=sha256)
    monkeypatch.setattr(cifar, "_CIFAR10", dataset)


def test_npz(arrays, tmp_path):
    np.savez(tmp_path / "cifar10.npz", **arrays)
    assert_loaded(tmp_path / "cifar10.npz", arrays)
    assert_loaded(str(tmp_path / "cifar10.npz"), arrays)


def test_npz_with_labels_in_a_column(arrays, tmp_path):
    columns = {k: v[:, None] for k, v in arrays.items() if k[0] == "y"}
    np.savez(tmp_path / "cifar10.npz", **{**arrays, **columns})
    assert_loaded(tmp_path / "cifar10.npz", arrays)


def test_official_archive(arrays, tmp_path, monkeypatch):
    path = tmp_path / "cifar-10-python.tar.gz"
    write_archive(path, official_files(arrays), monkeypatch)
    assert_loaded(path, arrays)


def refusal(path, error=ValueError):
    with pytest.raises(error) as info:
        datasets.load_cifar10(path)
    assert str(path) in str(info.value)
    return str(info.value)


def test_wrong_npz_is_refused_by_name(arrays, tmp_path):
    path = tmp_path / "cifar10.npz"

    def refused(**changes):
        changed = {**arrays, **changes}
        np.savez(path, **{k: v for k, v in changed.items() if v is not None})
        return refusal(path)

    assert "y_test" in refused(y_test=None)
    assert "(50, 32, 32, 3)" in refused(x_train=arrays["x_test"])
    assert "dtype float32" in refused(
        y_train=arrays["y_train"].astype("float32")
    )
    assert "labels 0..9" in refused(y_test=arrays["y_test"] + np.uint8(1))


def test_damaged_npz(arrays, tmp_path):
    path = tmp_path / "cifar10.npz"
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)
    refusal(path)
    path.write_bytes(content[: len(content) // 2])
    refusal(path)


def test_another_archive_is_not_opened(arrays, tmp_path, monkeypatch):
    path = tmp_path / "cifar-10-python.tar.gz"
    write_archive(path, official_files(arrays), monkeypatch)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "SHA-256" in refusal(path)


def test_missing_path(tmp_path):
    refusal(tmp_path / "nothing.npz", FileNotFoundError)
    # A folder that the archive was unpacked to is not read.
    refusal(tmp_path, FileNotFoundError)


# By the order of the names, from https://www.cs.toronto.edu/~kriz/cifar.html
SUPERCLASSES = """
4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10
12 14 16 9 11 5 5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12
16 12 1 9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17
8 14 13
"""


@pytest.fixture
def hundred(monkeypatch):
    """CIFAR-100 has two images of each class here, of which one is a test."""
    dataset = dataclasses.replace(cifar._CIFAR100, num_train=100, num_test=100)
    monkeypatch.setattr(cifar, "_CIFAR100", dataset)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 100, 32, 32, 3), "uint8")
    labels = np.stack([rng.permutation(100), np.arange(100)]).astype("uint8")
    return {
        "x_train": images[0],
        "y_train": labels[0],
        "x_test": images[1],
        "y_test": labels[1],
    }


def loaded(path, **arguments):
    (x_train, y_train), (x_test, y_test) = datasets.load_cifar100(
        path, **arguments
    )
    return {
        "x_train": x_train,
        "y_train": y_train,
        "x_test": x_test,
        "y_test": y_test,
    }


def test_cifar100(hundred, tmp_path, monkeypatch):
    np.savez(tmp_path / "cifar100.npz", **hundred)
    path = tmp_path / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("train", "test"):
            rows = hundred[f"x_{name}"].transpose(0, 3, 1, 2)
            content = dump(
                {
                    b"data": rows.reshape(-1, 3072),
                    b"fine_labels": hundred[f"y_{name}"].tolist(),
                    b"coarse_labels": [0] * 100,
                }
            )
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    dataset = dataclasses.replace(cifar._CIFAR100, sha256=sha256)
    monkeypatch.setattr(cifar, "_CIFAR100", dataset)
    coarse = np.array(SUPERCLASSES.split(), "uint8")
    for file in (tmp_path / "cifar100.npz", path):
        for mode, of_label in ("fine", np.arange(100)), ("coarse", coarse):
            for name, array in loaded(file, label_mode=mode).items():
                expected = hundred[name]
                if name[0] == "y":
                    expected = of_label[expected]
                assert array.dtype == "uint8"
                np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("channels_first", [False, True])
def test_cifar100_downloaded(hundred, monkeypatch, channels_first):
    def load_data():
        # As Keras: 64 bits, a column, and the global data format.
        axes = (0, 3, 1, 2) if channels_first else (0, 1, 2, 3)
        return [
            (
                hundred[f"x_{part}"].transpose(axes),
                hundred[f"y_{part}"].astype("int64")[:, None],
            )
            for part in ("train", "test")
        ]

    monkeypatch.setattr(keras.datasets.cifar100, "load_data", load_data)
    for name, array in loaded(None).items():
        assert array.dtype == "uint8"
        np.testing.assert_array_equal(array, hundred[name])


def test_names_of_the_classes():
    names = datasets.CIFAR100_CLASSES
    assert len(set(names)) == 100 and list(names) == sorted(names)
    assert names[0] == "apple" and names[99] == "worm"
    coarse = datasets.CIFAR100_COARSE_CLASSES
    assert len(set(coarse)) == 20 and list(coarse) == sorted(coarse)
    # An apple is a fruit, a worm no insect.
    of_label = SUPERCLASSES.split()
    assert coarse[int(of_label[0])] == "fruit_and_vegetables"
    assert coarse[int(of_label[99])] == "non-insect_invertebrates"
    assert datasets.CIFAR10_CLASSES.index("frog") == 6


def test_what_is_not_cifar100(hundred, arrays, tmp_path):
    path = tmp_path / "images.npz"

    def refusal(**changes):
        np.savez(path, **{**hundred, **changes})
        with pytest.raises(ValueError, match="path=") as info:
            datasets.load_cifar100(path, label_mode="coarse")
        return str(info.value)

    coarse = hundred["y_train"] % np.uint8(20)
    assert "labels 0..99" in refusal(y_train=coarse)
    assert "largest is 19" in refusal(y_train=coarse)
    assert "(100, 32, 32, 3)" in refusal(**arrays)
    with pytest.raises(ValueError, match="Received: label_mode='course'"):
        datasets.load_cifar100(path, label_mode="course")
    with pytest.raises(FileNotFoundError, match="CIFAR-100"):
        datasets.load_cifar100(tmp_path / "nothing.npz")


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("owned",))


def test_code_in_a_pickle_is_not_run(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.tar.gz"
    files = {**official_files(arrays), "data_batch_1": pickle.dumps(Payload())}
    write_archive(path, files, monkeypatch)
    assert "mkdir is not an array" in refusal(path)
    np.savez(tmp_path / "evil.npz", **{**arrays, "y_train": [Payload()]})
    refusal(tmp_path / "evil.npz")
    assert not (tmp_path / "owned").exists()


def test_without_network_says_what_to_do(tmp_path):
    # A proxy that nobody runs: no packet leaves the machine.
    environment = {
        **os.environ,
        "https_proxy": "http://127.0.0.1:9",
        "KERAS_HOME": str(tmp_path),
    }
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from keras_davidnet import datasets; datasets.load_cifar10()",
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ConnectionError: CIFAR-10 could not be downloaded")
    assert "https://www.cs.toronto.edu" in last
    assert last.endswith("pass its path.")
