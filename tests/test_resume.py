import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_davidnet import DavidNet, PyTorchSGD, Resume

PROGRAM = pathlib.Path(__file__).with_name("train_and_resume.py")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), "uint8")
LABELS = np.arange(8) % 3


def start(folder):
    return subprocess.Popen(
        [sys.executable, PROGRAM, folder / "state.npz", folder / "result.npz"]
    )


def finish(folder):
    assert start(folder).wait() == 0
    with np.load(folder / "result.npz") as file:
        return dict(file)


def kill(folder, seen):
    """Kills a training as soon as `seen` is true."""
    process = start(folder)
    while not seen():
        assert process.poll() is None, "the training ended before its kill"
    process.kill()
    process.wait()


def changed(path):
    before = path.stat().st_mtime_ns if path.exists() else None
    return lambda: path.exists() and path.stat().st_mtime_ns != before


@pytest.mark.skipif(
    keras.backend.backend() == "torch",
    reason="Keras's unseeded dropout draws from a generator of torch's there",
)
def test_killed_training_ends_as_if_it_had_not_been(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    expected = finish(whole)

    state = killed / "state.npz"
    unfinished = killed / "state.npz.unfinished"
    # Between two epochs, in a save, in a step.
    kill(killed, changed(state))
    kill(killed, unfinished.exists)
    saved = changed(state)
    kill(killed, lambda: saved() and not time.sleep(0.02))
    result = finish(killed)

    assert result.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(result[name], value, err_msg=name)


def compiled():
    model = DavidNet(num_classes=3, width=1)
    model.compile()
    return model


def test_finished_training_is_not_begun_again(tmp_path):
    resume = Resume(tmp_path / "runs" / "state.npz")
    model = compiled()
    history = model.fit(IMAGES, LABELS, epochs=2, callbacks=[resume]).history
    again = compiled()
    same = again.fit(IMAGES, LABELS, epochs=2, callbacks=[resume]).history
    assert same == history and len(history["loss"]) == 2
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    # Without the callback the next `fit` begins at its first epoch.
    assert len(again.fit(IMAGES, LABELS, epochs=1).history["loss"]) == 1


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_every_precision(tmp_path, policy):
    if (keras.backend.backend(), policy) == ("torch", "mixed_float16"):
        pytest.skip("PyTorch's float16 convolution fails at this size on CPU")

    def train(name, *stops):
        for epochs in stops:
            # What is not restored would differ.
            keras.utils.set_random_seed(epochs if epochs != stops[0] else 0)
            model = DavidNet(num_classes=3, width=1, dropout=0, dtype=policy)
            model.compile()
            resume = Resume(tmp_path / name)
            model.fit(
                IMAGES,
                LABELS,
                batch_size=4,
                epochs=epochs,
                shuffle=False,
                callbacks=[resume],
            )
        return model.variables + model.optimizer.variables

    whole, parts = train("whole.npz", 3), train("parts.npz", 1, 3)
    for one, other in zip(whole, parts, strict=True):
        one, other = map(keras.ops.convert_to_numpy, (one, other))
        np.testing.assert_array_equal(one, other)


def test_damaged_file(tmp_path):
    path = tmp_path / "state.npz"
    compiled().fit(IMAGES, LABELS, callbacks=[Resume(path)])
    data = bytearray(path.read_bytes())
    for damaged in (data[:-100], b"", data[:3000] + b"x" + data[3001:]):
        path.write_bytes(damaged)
        model = compiled()
        before = [keras.ops.convert_to_numpy(w) for w in model.weights]
        with pytest.raises(ValueError, match="unharmed.*Received: path="):
            model.fit(IMAGES, LABELS, epochs=2, callbacks=[Resume(path)])
        for weight, value in zip(model.weights, before, strict=True):
            np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize(
    "width, optimizer", [(2, None), (1, PyTorchSGD(use_ema=True))]
)
def test_state_of_another_model(tmp_path, width, optimizer):
    path = tmp_path / "state.npz"
    compiled().fit(IMAGES, LABELS, callbacks=[Resume(path)])
    model = DavidNet(num_classes=3, width=width)
    model.compile(optimizer)
    with pytest.raises(ValueError, match="(?s)this model .*Received: path="):
        model.fit(IMAGES, LABELS, epochs=2, callbacks=[Resume(path)])


def test_pipeline_without_an_order():
    with pytest.raises(TypeError, match="`dataset` must be .*Received"):
        Resume("state.npz", dataset=[(IMAGES, LABELS)])
