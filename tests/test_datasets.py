import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import time

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


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow", reason="tf.data pipelines")


@pytest.fixture
def pairs():
    """Images that carry their own number, which is their label too."""
    labels = np.arange(100, dtype="int32")
    images = np.zeros((100, 6, 6, 3), "uint8") + labels[:, None, None, None]
    return images.astype("uint8"), labels


def epoch(dataset):
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


MAKERS = pytest.mark.parametrize(
    "make", [datasets.make_dataset, datasets.make_host_dataset]
)


@MAKERS
def test_evaluation_keeps_order_and_tail(tf, pairs, make):
    dataset = make(*pairs, batch_size=32)
    assert len(dataset) == 4
    images, labels = epoch(dataset)
    np.testing.assert_array_equal(labels, pairs[1])
    assert images.shape == pairs[0].shape


@MAKERS
def test_training_shuffles_anew_and_drops_the_tail(tf, pairs, make):
    dataset = make(*pairs, batch_size=32, training=True, seed=1)
    assert len(dataset) == 3
    assert dataset.element_spec[0].shape == (32, 6, 6, 3)
    first, second = epoch(dataset)[1], epoch(dataset)[1]
    for labels in (first, second):
        assert len(set(labels)) == len(labels) == 96
    assert not np.array_equal(first, second)
    # A shuffle over the whole set, not over a window of it.
    assert np.abs(np.argsort(first) - np.sort(first)).max() > 64


@MAKERS
def test_seeds_repeat(tf, pairs, make):
    one, same, other = (
        make(*pairs, batch_size=32, training=True, seed=seed)
        for seed in (1, 1, 2)
    )
    for _ in range(2):
        for a, b in zip(epoch(one), epoch(same), strict=True):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(epoch(one)[1], epoch(other)[1])


@MAKERS
def test_an_iterator_ends_at_once(tf, pairs, make):
    # An epoch of fit ends when its iterator does, and TensorFlow's autotuning
    # often held that back for up to a minute.
    work = tf.ones((2000, 2000))

    @tf.function
    def step(iterator):
        element = iterator.get_next_as_optional().get_value()
        return element, tf.linalg.matmul(work, work)

    dataset = make(*pairs, batch_size=1).repeat()
    for _ in range(6):
        iterator = iter(dataset)
        begin = time.perf_counter()
        while time.perf_counter() < begin + 0.4:
            step(iterator)
        end = time.perf_counter()
        del iterator
        assert time.perf_counter() < end + 0.1


def test_raw_images_stay_with_their_labels(tf, pairs):
    dataset = datasets.make_dataset(*pairs, batch_size=32, training=True)
    images, labels = epoch(dataset)
    assert images.dtype == "uint8"
    np.testing.assert_array_equal(images, pairs[0][labels])


def test_host_pipeline_equals_numpy(tf, rng):
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    images = rng.integers(0, 256, (40, 10, 10, 3)).astype("uint8")
    labels = np.arange(40)
    normal = (images / 255 - mean) / std
    plain = datasets.make_host_dataset(images, labels, 16, mean=mean, std=std)
    np.testing.assert_allclose(epoch(plain)[0], normal, atol=1e-5)

    training = datasets.make_host_dataset(
        images, labels, 20, training=True, seed=0, mean=mean, std=std
    )
    border = ((0, 0), (4, 4), (4, 4), (0, 0))
    padded = np.pad(normal, border, mode="reflect")

    def draw(image, label):
        """The crop and flip that make `image` of number `label`."""
        found = [
            (i, j, flipped)
            for i in range(9)
            for j in range(9)
            for flipped in (False, True)
            if np.allclose(
                image[:, ::-1] if flipped else image,
                padded[label, i : i + 10, j : j + 10],
                atol=1e-5,
            )
        ]
        assert len(found) == 1
        return found[0]

    first, second = (
        [draw(*pair) for pair in zip(*epoch(training), strict=True)]
        for _ in range(2)
    )
    assert first != second
    assert len(set(first)) > 25
    assert {flipped for _, _, flipped in first} == {False, True}


@MAKERS
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, y: (x, y[:-1], 10), "100 images, 99 labels"),
        (lambda x, y: (x[0], y, 10), "images.shape=\\(6, 6, 3\\)"),
        (lambda x, y: (x, y, 0), "batch_size=0"),
        (lambda x, y: (x, y, 101), "100 images, batch_size=101"),
        (lambda x, y: (x[:0], y[:0], 1), "must not be empty"),
    ],
)
def test_bad_arrays(tf, pairs, make, change, message):
    with pytest.raises(ValueError, match=message):
        make(*change(*pairs), training=True)
