"""Training on two devices against training on one.

The one is trained in this process, the two in others.
"""

import functools
import os
import pathlib
import subprocess
import sys

import distributed_runs
import keras
import numpy as np
import pytest
from helpers import assert_uniform, free_port
from plain import numpy_davidnet as reference

SCRIPT = pathlib.Path(distributed_runs.__file__)
pytestmark = pytest.mark.slow


def start(*arguments, **environment):
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        # Where `helpers` is found.
        "PYTHONPATH": os.pathsep.join(sys.path),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, SCRIPT, *map(str, arguments)], env=environment
    )


def wait(*processes):
    try:
        for process in processes:
            assert process.wait(timeout=600) == 0
    finally:
        for process in processes:
            process.kill()


only_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute"
)
only_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="keras.distribution works on JAX"
)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    wait(start(folder, "replicas"))
    return folder


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    count = f"--xla_force_host_platform_device_count={distributed_runs.DEVICES}"
    flags = f"{os.environ['XLA_FLAGS']} {count}"
    wait(start(folder, "devices", XLA_FLAGS=flags))
    return folder


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    port = free_port()
    wait(
        *(
            start(folder / str(number), "process", number, port)
            for number in range(distributed_runs.DEVICES)
        )
    )
    return folder


@functools.cache
def on_one_device(training):
    return distributed_runs.train(**distributed_runs.TRAININGS[training])


def assert_same(folder, training):
    """That weights and logs on disk are those of one device."""
    *_, last = distributed_runs.TRAININGS
    expected = on_one_device(last if training == "resumed" else training)
    found = np.load(folder / f"{training}.npz")
    assert set(expected) == set(found)
    for name, value in expected.items():
        np.testing.assert_allclose(
            found[name],
            value,
            rtol=0,
            atol=1e-5 * np.abs(value).max(),
            err_msg=name,
        )


cases = pytest.mark.parametrize(
    "training", [*distributed_runs.TRAININGS, "resumed"]
)


@only_tensorflow
@cases
def test_mirrored_strategy_trains_as_one_device(replicas, training):
    assert_same(replicas, training)


@only_jax
@cases
def test_data_parallel_trains_as_one_device(devices, training):
    assert_same(devices, training)


@only_jax
@cases
def test_two_processes_train_as_one(processes, training):
    for number in range(distributed_runs.DEVICES):
        assert_same(processes / str(number), training)


@only_tensorflow
def test_replicas_normalize_by_the_whole_batch(replicas):
    # In float32, where one device has the fused kernel.
    found = np.load(replicas / "layers.npz")
    images = found["images"]
    mean, variance = images.mean((0, 1, 2)), images.var((0, 1, 2))
    np.testing.assert_allclose(
        found["outputs"],
        reference.batch_norm(images, (1, 0, None, None), training=True),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        found["weights"][2:], [0.1 * mean, 0.9 + 0.1 * variance], rtol=1e-5
    )


@only_tensorflow
def test_replicas_drop_independently(replicas):
    kept = (np.load(replicas / "layers.npz")["masks"] > 0).astype(int)
    assert_uniform(2, kept[:, 0], kept[:, 1])
    assert_uniform(2, kept[:-1, 0], kept[1:, 1])


@only_tensorflow
def test_several_machines_on_tensorflow_are_refused(replicas):
    message = (replicas / "multi_worker.txt").read_text()
    assert "keras.distribution.initialize()" in message
    assert "Received: strategy=" in message
