import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from keras_davidnet import datasets

BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


@pytest.fixture(scope="module")
def arrays():
    """Look-alikes of CIFAR-10 of the right size; no image equals another."""
    number = np.arange(60_000, dtype="uint32")
    images = np.zeros((60_000, 32 * 32 * 3), "uint8")
    images[:, -4:] = number.view("uint8").reshape(-1, 4)
    images[:, 7] = number % 251
    images = images.reshape(-1, 32, 32, 3)
    labels = (number % 10).astype("uint8")
    return {
        "x_train": images[:50_000],
        "y_train": labels[:50_000],
        "x_test": images[50_000:],
        "y_test": labels[50_000:],
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


def official_batches(arrays):
    """The bytes of the official archive's files, by name."""
    images = np.concatenate([arrays["x_train"], arrays["x_test"]])
    labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    rows = images.transpose(0, 3, 1, 2).reshape(-1, 3072)
    return {
        name: dump(
            {
                b"batch_label": name.encode(),
                b"data": rows[i * 10_000 : (i + 1) * 10_000],
                b"labels": labels[i * 10_000 : (i + 1) * 10_000].tolist(),
            }
        )
        for i, name in enumerate(BATCHES)
    }


@pytest.fixture(scope="module")
def folder(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar") / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in official_batches(arrays).items():
        (folder / name).write_bytes(content)
    return folder


def test_npz(arrays, tmp_path):
    np.savez(tmp_path / "cifar10.npz", **arrays)
    assert_loaded(tmp_path / "cifar10.npz", arrays)
    assert_loaded(str(tmp_path / "cifar10.npz"), arrays)


def test_npz_with_labels_in_a_column(arrays, tmp_path):
    columns = {k: v[:, None] for k, v in arrays.items() if k[0] == "y"}
    np.savez(tmp_path / "cifar10.npz", **{**arrays, **columns})
    assert_loaded(tmp_path / "cifar10.npz", arrays)


def test_official_folder(arrays, folder):
    assert_loaded(folder, arrays)


def test_official_archive(arrays, folder, tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(folder, folder.name)
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
    assert "(50000, 32, 32, 3)" in refused(x_train=arrays["x_test"])
    assert "dtype float32" in refused(
        y_train=arrays["y_train"].astype("float32")
    )
    assert "labels in 0..9" in refused(y_test=arrays["y_test"] + np.uint8(1))
    objects = np.array([print] * 50_000, dtype=object)
    assert "dtype object" in refused(y_train=objects)


def test_damaged_files_are_refused(arrays, folder, tmp_path):
    path = tmp_path / "cifar10.npz"
    np.savez(path, **arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refusal(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 255
    path.write_bytes(damaged)
    assert "x_train" in refusal(path)
    path.write_bytes(b"no archive of any kind")
    refusal(path)
    truncated = tmp_path / "truncated"
    truncated.mkdir()
    for name in BATCHES[:-1]:
        os.link(folder / name, truncated / name)
    assert "test_batch" in refusal(truncated)
    (truncated / "test_batch").write_bytes(
        (folder / "test_batch").read_bytes()[:-1000]
    )
    assert "test_batch" in refusal(truncated)


def test_missing_path(tmp_path):
    refusal(tmp_path / "nothing.npz", FileNotFoundError)


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("owned",))


def test_code_in_a_pickle_is_not_run(arrays, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in BATCHES:
        os.link(folder / name, evil / name)
    os.unlink(evil / "data_batch_1")
    (evil / "data_batch_1").write_bytes(pickle.dumps(Payload()))
    assert "mkdir are refused" in refusal(evil)
    assert not (tmp_path / "owned").exists()
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload()] * 50_000, dtype=object))
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
    assert "load_cifar10(path)" in last
