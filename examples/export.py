"""Exports a DavidNet to three runtimes and runs it in each.

    pip install ".[examples,export]"
    python examples/export.py                              # trains on digits
    python examples/export.py runs/quickstart/model.keras  # takes a saved net

Prints how far the logits lie from those of Keras in float32.  Runs on the
TensorFlow backend, the only one that has all three formats.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from quickstart import load

from keras_davidnet import DavidNet, RandomPadCrop, recipes

OUTPUT = pathlib.Path("runs/export")


def train(precision):
    """A narrow net, after two epochs on the digits."""
    (x_train, y_train), _ = load()
    model = DavidNet(width=8, augmentation=RandomPadCrop(4), dtype=precision)
    model.compile(recipes.davidnet_optimizer(len(x_train) // 64, epochs=2))
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
    "litert": ("net.tflite", run_litert),
    "onnx": ("net.onnx", run_onnx),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="a saved DavidNet, .keras")
    parser.add_argument(
        "--precision",
        choices=["float32", "mixed_float16", "mixed_bfloat16"],
        default="float32",
        help="of the training, without a file",
    )
    args = parser.parse_args()
    keras.utils.set_random_seed(0)
    if args.file:
        model = keras.saving.load_model(args.file)
    else:
        model = train(args.precision)

    # Noise, so that a net for images of any size can be compared.
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
