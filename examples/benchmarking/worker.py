"""A process for each case, so that backends and their memory stay apart."""

import contextlib
import multiprocessing
import os
import platform
import sys
import time

# Host memory for the images of a round, 600 MB of them.
MOST_IMAGES = 200_000


class Worker:
    """Has trained twice, one step each time, when it is there."""

    def __init__(self, case, seconds: float):
        context = multiprocessing.get_context("spawn")
        self.case = case
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(case, seconds, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self.start = self.pipe.recv()
        self.rounds = []

    def step(self) -> dict:
        """Trains one step and tells how that went."""
        return self._ask("step")

    def round(self) -> None:
        """Trains for about the seconds asked for."""
        # While others took their turn, the system may have taken back the
        # memory that lay free here: PyTorch's next step is slower by half.
        self.step()
        self.rounds.append(self._ask("round"))

    def close(self) -> dict:
        self.pipe.send(None)
        self.process.join()
        return {**vars(self.case), **self.start, "rounds": self.rounds}

    def _ask(self, what):
        self.pipe.send(what)
        return self.pipe.recv()


def _serve(case, seconds, pipe):
    os.environ["KERAS_BACKEND"] = case.backend
    # As the examples set them.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Several processes share a GPU.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # Progress bars are drawn, as for a user, but not shown.
    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        begin = time.perf_counter()
        import keras

        middle = time.perf_counter()
        import keras_davidnet  # noqa: F401

        end = time.perf_counter()
        start = {
            "import_keras_s": middle - begin,
            "import_package_s": end - middle,
        }
        contestant, start["first_step_s"], data = _prepare(case, seconds)
        start["versions"] = {
            "python": platform.python_version(),
            "keras": keras.version(),
            **{
                name: sys.modules[name].__version__
                for name in ("numpy", "tensorflow", "jax", "torch")
                if name in sys.modules
            },
        }
        start["device"], _ = _device(case.backend)
        pipe.send(start)
        while what := pipe.recv():
            steps, batches = data[what]
            begin = time.perf_counter()
            contestant.run(batches)
            seconds = time.perf_counter() - begin
            _, peak = _device(case.backend)
            pipe.send(
                {
                    "steps": steps,
                    "images_per_s": steps * case.batch / seconds,
                    "resident_bytes": _resident_bytes(),
                    "peak_bytes": peak,
                }
            )


def _prepare(case, seconds):
    """The contestant, seconds to its first step, data of a step and a round."""
    import numpy as np
    from benchmarking.contestants import WAYS

    rng = np.random.default_rng(0)

    def data(steps):
        n = steps * case.batch
        return steps, contestant.data(
            rng.integers(0, 256, (n, 32, 32, 3), "uint8"),
            rng.integers(0, 10, n, "int32"),
        )

    begin = time.perf_counter()
    contestant = WAYS[case.way](case)
    step = data(1)
    contestant.run(step[1])
    first_step = time.perf_counter() - begin
    begin = time.perf_counter()
    contestant.run(step[1])
    steps = round(seconds / (time.perf_counter() - begin))
    steps = min(max(1, steps), MOST_IMAGES // case.batch)
    return contestant, first_step, {"step": step, "round": data(steps)}


def _device(backend):
    """Its name, and the most memory used: of the GPU, else of the process."""
    import resource

    if backend == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            details = tf.config.experimental.get_device_details(gpu)
            memory = tf.config.experimental.get_memory_info("GPU:0")
            return details["device_name"], memory["peak"]
    elif backend == "jax":
        import jax

        if memory := jax.devices()[0].memory_stats():
            return jax.devices()[0].device_kind, memory["peak_bytes_in_use"]
    else:
        import torch

        if torch.cuda.is_available():
            return (
                torch.cuda.get_device_name(),
                torch.cuda.max_memory_allocated(),
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return "CPU", peak * 1024


def _resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
