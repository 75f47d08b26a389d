"""A process for each case, so that backends and their memory stay apart."""

import contextlib
import functools
import multiprocessing
import os
import time

import machine

# Host memory for the images of a round, 600 MB of them.
MOST_IMAGES = 200_000


class Worker:
    """A process that imports what it needs, and does more when it is told."""

    def __init__(self, case, seconds: float):
        context = multiprocessing.get_context("spawn")
        self.case, self.seconds = case, seconds
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(case, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self.start, self.steps, self.rounds = None, None, []

    def first_step(self) -> None:
        """Makes the net and trains a step."""
        self.start = self.run(1)

    def run(self, steps: int) -> dict:
        """Trains that many steps and tells how it went."""
        self.pipe.send(steps)
        return self.pipe.recv()

    def round(self) -> None:
        """Trains for about the seconds asked for."""
        # While others took their turn, the system may have taken back the
        # memory that lay free here: PyTorch's next step is slower by half.
        step = self.run(1)
        if self.steps is None:
            images = min(self.seconds * step["images_per_s"], MOST_IMAGES)
            self.steps = max(1, round(images / self.case.batch))
        self.rounds.append(self.run(self.steps))

    def close(self) -> dict:
        self.pipe.send(None)
        self.process.join()
        return {**vars(self.case), **self.start, "rounds": self.rounds}


def _serve(case, pipe):
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
        import keras  # noqa: F401

        middle = time.perf_counter()
        import keras_davidnet  # noqa: F401

        end = time.perf_counter()
        start = {
            "import_keras_s": middle - begin,
            "import_package_s": end - middle,
        }
        import numpy as np
        from benchmarking.methods import METHODS

        @functools.cache
        def data(steps):
            rng, n = np.random.default_rng(0), steps * case.batch
            return trainer.data(
                rng.integers(0, 256, (n, 32, 32, 3), "uint8"),
                rng.integers(0, 10, n, "int32"),
            )

        pipe.recv()
        begin = time.perf_counter()
        trainer = METHODS[case.method](case)
        trainer.run(data(1))
        start["first_step_s"] = time.perf_counter() - begin
        start["flop_per_image"] = trainer.flop_per_image
        start["versions"] = machine.versions()
        start["device"], _ = machine.device(case.backend)
        pipe.send(start)
        while steps := pipe.recv():
            batches = data(steps)
            begin = time.perf_counter()
            trainer.run(batches)
            seconds = time.perf_counter() - begin
            _, peak = machine.device(case.backend)
            pipe.send(
                {
                    "steps": steps,
                    "images_per_s": steps * case.batch / seconds,
                    "resident_bytes": _resident_bytes(),
                    "peak_bytes": peak,
                }
            )


def _resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
