import contextlib
import gc
import importlib.metadata
import os
import tempfile

# Two processes share the cores, and the threads of PyTorch wait by spinning.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where a process holds both, torch has to be there before TensorFlow.
with contextlib.suppress(ImportError):
    import torch as torch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As the examples set it: off on processors without AVX-512, TensorFlow's own
# kernels do not always repeat to the bit.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# JAX compiles for most of the time, and often the same net again; this process
# and those that it starts share what they compiled.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# What is computed is under test, not how fast: JAX spends most of its time on
# optimizations of nets that run for a few steps. At level 0, XLA of JAX 0.10.2
# gives NaN for the gradient of a small net at a batch of one image.
if os.environ.get("KERAS_BACKEND") == "jax":
    flags = [
        "--xla_backend_optimization_level=1",
        "--xla_llvm_disable_expensive_passes=true",
    ]
    # XLA ends a process at a flag that it does not know, and this one is young.
    # The older emitters take half as long to compile.
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="module")
def _cleared():
    """Not after each test: to collect garbage takes longer than most."""
    # For the module's other fixtures, which come before those of a test.
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()
    # TensorFlow keeps its graphs; the next collection need not walk them.
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
