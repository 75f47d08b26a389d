"""The file that `Resume` keeps: a header in JSON, then the variables."""

import contextlib
import json
import os
import pathlib
import zipfile

import numpy as np
from keras import ops

from keras_davidnet._checks import check_count


def write_state(path: pathlib.Path, state: dict, variables: list) -> None:
    """Replaces the file in one step when the new one is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with open(unfinished, "wb") as file:
        np.savez(
            file,
            np.array(json.dumps(state)),
            *map(ops.convert_to_numpy, variables),
        )
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def read_state(path: pathlib.Path) -> dict:
    """The header; or a ValueError if it is none of `write_state`."""
    with _opened(path) as file:
        state = json.loads(file["arr_0"].item())
        check_count("epochs", state["epochs"])
        check_count("stopped_of", state.get("stopped_of", 1))
        check_count("seed", state.get("seed", 0), ge=0)
        columns = state["history"].values()
        if not all(isinstance(column, list) for column in columns):
            raise ValueError("its history is not one of lists")
        if not isinstance(state["run"]["variables"], list):
            raise ValueError("it names no variables")
    return state


def read_arrays(path: pathlib.Path, variables: list) -> list[np.ndarray]:
    """An array for each variable; or a ValueError if they do not fit."""
    with _opened(path) as file:
        if len(file) != 1 + len(variables):
            raise ValueError("its arrays are not those that it names")
        arrays = []
        for i, variable in enumerate(variables, start=1):
            # NumPy has no name for bfloat16 and reads it as two bytes.
            array = file[f"arr_{i}"].view(ops.convert_to_numpy(variable).dtype)
            if array.shape != tuple(variable.shape):
                raise ValueError("its arrays are not those that it names")
            arrays.append(array)
    return arrays


@contextlib.contextmanager
def _opened(path):
    try:
        with (
            open(path, "rb") as opened,
            np.load(opened, allow_pickle=False) as file,
        ):
            # What is compressed may be a thousand times as large in memory.
            if any(
                member.compress_type != zipfile.ZIP_STORED
                for member in file.zip.infolist()
            ):
                raise ValueError("it is compressed")
            yield file
    # A damaged zip file fails in many ways.
    except Exception as error:
        raise ValueError(
            f"`path` must be a file that Resume wrote, unharmed: {error}. "
            f"Received: path={str(path)!r}"
        ) from error
