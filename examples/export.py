"""Exports a DavidNet to three runtimes and runs it in each.

    pip install ".[examples,export]"
    python examples/export.py                              # trains on digits
    python examples/export.py runs/quickstart/model.keras  # a saved model

Prints the largest difference from Keras's logits in float32.  Needs the
TensorFlow backend, the only one that exports to all three formats.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import numpy as np
import onnxruntime
import sklearn.datasets
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from keras_davidnet import DavidNet, RandomPadCrop, optimizers

OUTPUT = pathlib.Path("runs/export")


def load_digits():
    """Digits as uint8 images of shape (n, 32, 32, 3), a fifth held out."""
    digits = sklearn.datasets.load_digits()
    images = (digits.images * 255 / 16).astype("uint8")
    images = images.repeat(4, axis=1).repeat(4, axis=2)
    images = np.stack([images] * 3, axis=-1)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = np.split(order, [len(order) * 4 // 5])
    return (
        (images[train], digits.target[train]),
        (images[test], digits.target[test]),
    )


def train(precision):
    """A narrow model after two epochs on the digits."""
    (x_train, y_train), _ = load_digits()
    model = DavidNet(width=8, augmentation=RandomPadCrop(4), dtype=precision)
    model.compile(optimizers.davidnet_optimizer(len(x_train) // 64, epochs=2))
    model.fit(x_train, y_train, batch_size=64, epochs=2)
    return model


def run_saved_model(path, images):
    served = tf.saved_model.load(path)
    return served.serve(images).numpy()


def run_litert(path, images):
    serve = Interpreter(str(path)).get_signature_runner("serving_default")
    return serve(images=images)["output_0"]


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {"images": images})[0]


FORMATS = {
    "tf_saved_model": ("saved_model", run_saved_model),
    "litert": ("model.tflite", run_litert),
    "onnx": ("model.onnx", run_onnx),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="a saved DavidNet, .keras")
    parser.add_argument(
        "--precision",
        choices=["float32", "mixed_float16", "mixed_bfloat16"],
        default="float32",
        help="precision of the training, without a file",
    )
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    if args.file:
        model = keras.saving.load_model(args.file)
    else:
        model = train(args.precision)

    # Noise, which serves any image size.
    shape = [size or 32 for size in model.image_shape]
    images = np.random.default_rng(0).integers(0, 256, (100, *shape), "uint8")
    in_float32 = model.from_config({**model.get_config(), "dtype": "float32"})
    in_float32.set_weights(model.get_weights())
    expected = in_float32.predict(images, verbose=0)

    OUTPUT.mkdir(parents=True, exist_ok=True)
    print(f"\nLogits between {expected.min():.2f} and {expected.max():.2f}")
    print("Largest difference from Keras in float32, 100 images:")
    own = model.predict(images, verbose=0)
    print(f"  {abs(own - expected).max():.1e}  {model.dtype_policy.name}")
    for format, (name, run) in FORMATS.items():
        path = OUTPUT / name
        model.export(path, format=format, verbose=False)
        print(f"  {abs(run(path, images) - expected).max():.1e}  {path}")


if __name__ == "__main__":
    main()
