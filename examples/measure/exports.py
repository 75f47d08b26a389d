"""Which format does Keras export to on which backend, and how fast is each?

    KERAS_BACKEND=tensorflow python examples/measure/exports.py

Exports a pretrained net from raw uint8 images, without test-time augmentation,
to every format that Keras knows, runs each file in its own runtime with all
cores, and prints a row of a table: the size, the largest difference from the
logits that Keras computes, milliseconds for one image, and images a second in
batches of 500.  On TensorFlow it also makes an int8 LiteRT file, calibrated on
500 training images, and prints its accuracy on the test images and Keras's.

It needs the extra `export` and the packages of the runtimes: onnxruntime,
openvino.
"""

import argparse
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_davidnet import datasets, presets

BATCH = 500


def saved_model(path):
    import tensorflow as tf

    served = tf.saved_model.load(path)
    return lambda images: served.serve(images).numpy()


def litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    serve = interpreter.get_signature_runner("serving_default")
    return lambda images: serve(images=images)["output_0"].copy()


def onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (image,) = session.get_inputs()
    return lambda images: session.run(None, {image.name: images})[0]


def openvino(path):
    import openvino

    # Otherwise it computes in bfloat16 where the processor can.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(path, "CPU", settings)
    return lambda images: compiled(images)[0]


def pt2(path):
    import torch

    module = torch.export.load(path).module()

    @torch.no_grad()
    def run(images):
        return module(torch.from_numpy(images)).numpy()

    return run


FORMATS = {
    "tf_saved_model": ("saved_model", saved_model),
    "litert": ("net.tflite", litert),
    "onnx": ("net.onnx", onnx),
    "openvino": ("net.xml", openvino),
    "torch": ("net.pt2", pt2),
}


def options(format):
    if format != "torch":
        return {}
    import torch

    # Without it the file takes one image at a time.
    return {"dynamic_shapes": {0: torch.export.Dim("batch")}}


def int8(folder, path, images):
    """Converts a SavedModel to LiteRT with weights and activations in int8."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        {"images": images[i : i + 1]} for i in range(len(images))
    )
    path.write_bytes(converter.convert())


def seconds(run, images, rounds):
    """The least of some runs, after one."""
    run(images)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - begin)
    return min(times)


def size(path):
    # OpenVINO keeps the weights in another file.
    files = path.rglob("*") if path.is_dir() else path.parent.glob("net.*")
    return sum(file.stat().st_size for file in files if file.is_file())


def print_row(name, run, images, expected, bytes=None):
    cells = [
        f"{keras.backend.backend()}, {name}",
        f"{bytes / 1e6:.1f} MB" if bytes else "-",
        f"{abs(run(images) - expected).max():.1e}",
        f"{1000 * seconds(run, images[:1], 50):.2f}",
        f"{len(images) / seconds(run, images, 5):,.0f}",
    ]
    print("|", " | ".join(cells), "|", flush=True)


def print_accuracy(name, run, images, labels):
    logits = [run(part) for part in np.split(images, 20)]
    accuracy = (np.concatenate(logits).argmax(1) == labels.ravel()).mean()
    print(f"Accuracy of {name}: {accuracy:.2%}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="airbench94_muon_cifar10")
    parser.add_argument(
        "--data", help="path of CIFAR-10; without it, it is downloaded"
    )
    args = parser.parse_args()
    (x_train, _), (x_test, y_test) = datasets.load_cifar10(args.data)
    images = x_test[:BATCH]
    net = presets.load(args.preset)
    net.views = None

    def predict(images):
        return net.predict(images, batch_size=BATCH, verbose=0)

    expected = predict(images)
    print("| backend, format | size | difference | ms | images/s |")
    print("| --- | --- | --- | --- | --- |")
    print_row("`predict`", predict, images, expected)
    with tempfile.TemporaryDirectory() as folder:
        for format, (name, load) in FORMATS.items():
            path = pathlib.Path(folder, format, name)
            path.parent.mkdir()
            try:
                net.export(str(path), format, verbose=False, **options(format))
                run = load(path)
                print_row(format, run, images, expected, size(path))
            # They fail in many ways, of many packages.
            except Exception as error:
                first = str(error).strip().splitlines()[0]
                print(f"| {format} | {type(error).__name__}: {first} |")
        if keras.backend.backend() != "tensorflow":
            return
        path = pathlib.Path(folder, "int8", "net.tflite")
        path.parent.mkdir()
        saved = pathlib.Path(folder, "tf_saved_model", "saved_model")
        int8(saved, path, x_train[:BATCH])
        run = litert(path)
        print_row("litert, int8", run, images, expected, size(path))
        print_accuracy("Keras, float32", predict, x_test, y_test)
        print_accuracy("LiteRT, int8", run, x_test, y_test)


if __name__ == "__main__":
    main()
