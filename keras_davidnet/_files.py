"""Files that are there whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def atomic_write(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where to write a file, which then replaces `path` in one step."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    yield unfinished
    with open(unfinished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)
