"""Damaged models; `test_datasets.py` and `test_resume.py` have other files."""

import keras
import pytest

from keras_davidnet import DavidNet


def test_damaged_model(tmp_path):
    path = tmp_path / "model.keras"
    DavidNet(width=1, augmentation=None).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(Exception, match="."):
        keras.saving.load_model(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not.*found|zip"):
        keras.saving.load_model(path)
