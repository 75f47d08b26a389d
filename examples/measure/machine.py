"""What a measurement ran on."""


def processor() -> str:
    """The CPU's name, on Linux."""
    return _cpuinfo("model name")


def instructions() -> list[str]:
    """Those of the CPU's instruction sets that decide how fast a net trains."""
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
    flags = _cpuinfo("flags").split()
    return [name for name in known if name in flags]


def hardware(backend: str) -> dict:
    """What the file of a run says of it."""
    import os

    return {
        "device": device(backend)[0],
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": instructions(),
    }


def device(backend: str) -> tuple[str, int]:
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


def versions() -> dict[str, str]:
    """Of Python, Keras and the libraries that are imported."""
    import platform
    import sys

    import keras

    return {
        "python": platform.python_version(),
        "keras": keras.version(),
        **{
            name: sys.modules[name].__version__
            for name in ("numpy", "tensorflow", "jax", "torch")
            if name in sys.modules
        },
    }


def _cpuinfo(key):
    # Processors other than x86 do not list all.
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""
