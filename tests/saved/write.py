"""Writes a small model of the installed version, for later ones to load."""

import pathlib

import keras
import numpy as np

from keras_davidnet import DavidNet, __version__

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (8, 16, 16, 3)).astype("uint8")
model = DavidNet(width=2, label_smoothing=0.1)
model.compile()
model.fit(images, np.arange(8) % 10, batch_size=4)
path = pathlib.Path(__file__).parent / f"davidnet_{__version__}"
model.save(path.with_name(path.name + ".keras"))
np.savez_compressed(
    path.with_name(path.name + ".npz"),
    images=images,
    predictions=model.predict(images),
)
