"""Makes the walkthrough's notebook from its source, and executes it.

    python docs/tools/execute.py examples/walkthrough.ipynb

Needs the extra `notebook`.  The committed one was made with CIFAR-10, named by
the environment variable CIFAR10_NPZ.
"""

import pathlib
import sys

import jupytext
import nbformat
from nbclient import NotebookClient

SOURCE = pathlib.Path(__file__).parents[2] / "examples" / "walkthrough.py"


def main(path):
    notebook = jupytext.read(SOURCE)
    # Random names and times would change the file at each execution.
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    client = NotebookClient(
        notebook,
        record_timing=False,
        coalesce_streams=True,
        # TensorFlow writes to the terminal what is not for a reader.
        extra_arguments=["--IPKernelApp.capture_fd_output=False"],
    )
    client.execute()
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main(sys.argv[1])
