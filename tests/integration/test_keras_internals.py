"""The private names of Keras that the package uses are those of the docs."""

import ast
import pathlib
import re

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def own_names(tree):
    """What the package itself defines or assigns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(
            node.ctx, ast.Store
        ):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant):
            yield node.value  # a key of `vars(self)`


@pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="of a checkout, not of the wheel"
)
def test_docs_list_every_private_name():
    trees = [
        ast.parse(path.read_text())
        for path in (ROOT / "keras_davidnet").rglob("*.py")
    ]
    own = {name for tree in trees for name in own_names(tree)}
    # `_initial_epoch` is assigned, and yet Keras's.
    own -= set(dir(keras.Model()))
    used = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.fullmatch(r"_[a-z]\w*", node.attr)
    } - own
    page = (ROOT / "docs" / "keras-internals.md").read_text()
    listed = set(re.findall(r"^\| `\w+\.(_\w+)`", page, re.MULTILINE))
    assert used == listed
