"""Exported nets in the runtimes that serve them, against NumPy."""

import importlib.util
import subprocess
import sys

import keras
import numpy as np
import pytest
from plain import numpy_davidnet as reference

from keras_davidnet import (
    DavidNet,
    RandomPadCrop,
    datasets,
    optimizers,
    recipes,
)

BACKEND = keras.backend.backend()
pytestmark = pytest.mark.extra
NETS = {
    "float32": {},
    "mixed_bfloat16": {"dtype": "mixed_bfloat16"},
    "mixed_float16-flip_averaging": {
        "dtype": "mixed_float16",
        "views": "mirror",
    },
}


def needs(*packages):
    """A mark, so that no net is trained for a test that is skipped."""
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"not installed: {', '.join(missing)}"
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 16, 24, 3), "uint8")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(n, marks=() if n == "float32" else pytest.mark.slow)
        for n in NETS
    ],
)
def net(request, images):
    """A net after a few steps, when none of its weights is as it began."""
    model = DavidNet(
        width=2,
        input_shape=(16, 24, 3),
        augmentation=RandomPadCrop(4),
        **NETS[request.param],
    )
    # Without XLA, which is slow to compile.
    optimizer = optimizers.davidnet_optimizer(4, epochs=2)
    model.compile(optimizer, jit_compile=BACKEND == "jax")
    model.fit(images, np.arange(7), batch_size=2, epochs=2, verbose=0)
    # Of the size that a trained net's logits have.
    model.linear.set_weights([20 * w for w in model.linear.get_weights()])
    return model


def check(predict, net, images):
    """Compares with NumPy on the weights, for batches of several sizes."""

    def logits(images):
        statistics = datasets.CIFAR10_MEAN, datasets.CIFAR10_STD
        return reference.davidnet(images, net, *statistics)

    expected = logits(images)
    if net.views:
        expected = (expected + logits(images[:, :, ::-1])) / 2
    assert expected.std() > 1
    for size in (7, 1):
        outputs = predict(images[:size])
        assert outputs.dtype == "float32"
        np.testing.assert_allclose(outputs, expected[:size], rtol=0, atol=1e-4)


SERVE = """
import sys
# Neither can be imported from here on, installed or not.
sys.modules["keras_davidnet"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
try:
    import keras_davidnet
except ImportError:
    folder = sys.argv[1]
    images = np.load(f"{folder}/images.npy")
    served = tf.saved_model.load(f"{folder}/net")
    for size in (7, 1):
        np.save(f"{folder}/{size}.npy", served.serve(images[:size]))
"""


# Keras 3.15's use of jax2tf.
@pytest.mark.filterwarnings("ignore:.*native_serialization:DeprecationWarning")
@pytest.mark.skipif(
    BACKEND == "torch", reason="Keras needs torch_xla for a SavedModel of torch"
)
@needs("tensorflow")
@pytest.mark.slow
def test_saved_model_served_without_this_package(net, images, tmp_path):
    net.export(tmp_path / "net", verbose=False)
    np.save(tmp_path / "images.npy", images)
    subprocess.run([sys.executable, "-c", SERVE, tmp_path], check=True)
    check(lambda x: np.load(tmp_path / f"{len(x)}.npy"), net, images)


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="Keras converts to LiteRT on TensorFlow"
)
@needs("ai_edge_litert")
def test_litert(net, images, tmp_path):
    check(litert(net, tmp_path), net, images)


def litert(net, folder):
    """A function that calls the exported net."""
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "net.tflite"
    net.export(path, format="litert", verbose=False)
    serve = Interpreter(str(path)).get_signature_runner("serving_default")
    return lambda x: serve(images=x)["output_0"]


@pytest.mark.filterwarnings("ignore")  # The converter's are many.
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="TensorFlow's converter makes it"
)
@needs("ai_edge_litert")
@pytest.mark.slow
def test_int8(images, tmp_path):
    """As the docs make it; the logits are those of float32, rounded."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    net = DavidNet(width=8, input_shape=(16, 24, 3), logit_scale=1)
    net.export(tmp_path / "net", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "net"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        {"images": image[None]} for image in images
    )
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    net.export(tmp_path / "float.tflite", format="litert", verbose=False)
    small, large = (
        (tmp_path / name).stat().st_size
        for name in ("net.tflite", "float.tflite")
    )
    assert small < 0.4 * large
    interpreter = Interpreter(str(tmp_path / "net.tflite"))
    serve = interpreter.get_signature_runner("serving_default")
    logits = net.predict(images, verbose=0)
    error = serve(images=images)["output_0"] - logits
    assert np.abs(error).max() < 0.05 * np.ptp(logits)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(BACKEND == "jax", reason="OpenVINO cannot convert it")
@needs("openvino")
@pytest.mark.parametrize("net", ["float32"], indirect=True)
@pytest.mark.slow
def test_openvino(net, images, tmp_path):
    import openvino

    net.export(tmp_path / "net.xml", format="openvino", verbose=False)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    served = openvino.compile_model(tmp_path / "net.xml", "CPU", settings)
    check(lambda x: served(x)[0], net, images)


@pytest.mark.skipif(BACKEND != "torch", reason="Keras exports it on torch")
def test_pt2(net, images, tmp_path):
    import torch

    path = tmp_path / "net.pt2"
    batch = torch.export.Dim("batch")
    net.export(path, format="torch", dynamic_shapes={0: batch}, verbose=False)
    module = torch.export.load(path).module()
    check(lambda x: module(torch.from_numpy(x)).detach().numpy(), net, images)


# Keras's patch of tf2onnx, and tf2onnx itself, under NumPy 2.
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
# A free batch size makes Keras take the older of torch's two exporters.
@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript")
@pytest.mark.filterwarnings("ignore:The feature will be removed")
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python")
@pytest.mark.filterwarnings("ignore:torch.as_tensor results")
@pytest.mark.skipif(
    BACKEND == "jax", reason="ONNX Runtime refuses the MaxPool of jax2onnx"
)
@needs("onnxruntime", "onnx" if BACKEND == "torch" else "tf2onnx")
def test_onnx(net, images, tmp_path):
    check(onnx(net, tmp_path), net, images)


def onnx(net, folder):
    """A function that calls the exported net."""
    import onnxruntime

    path = folder / "net.onnx"
    net.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    return lambda x: session.run(None, {"images": x})[0]


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")
@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="Keras converts to LiteRT on TensorFlow"
)
@needs("ai_edge_litert", "onnxruntime", "tf2onnx")
# Their activations are GELU and CELU.
@pytest.mark.parametrize(
    "name, size",
    [
        ("airbench96", {"widths": (8, 8, 8)}),
        ("bag_of_tricks", {"width": 8}),
    ],
)
@pytest.mark.slow
def test_the_other_nets(name, size, images, tmp_path):
    recipe = recipes.get(name).replace(input_shape=(16, 24, 3), **size)
    net = recipe.replace(dtype="mixed_bfloat16").model()
    net.adapt(images)
    float32 = recipe.replace(dtype="float32").model()
    float32.set_weights(net.get_weights())
    expected = float32.predict(images, verbose=0)
    for export in litert, onnx:
        np.testing.assert_allclose(
            export(net, tmp_path)(images),
            expected,
            rtol=0,
            atol=1e-4 * expected.std(),
        )


class Noise(keras.layers.Layer):
    """Not registered, so that no config of it gives it again."""

    def call(self, images, training=False):
        return images * 1.01 if training else images


@pytest.mark.filterwarnings("ignore:.*native_serialization:DeprecationWarning")
@pytest.mark.skipif(
    BACKEND == "torch", reason="Keras needs torch_xla for a SavedModel of torch"
)
@needs("tensorflow")
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.slow
def test_what_no_config_tells(images, tmp_path, dtype):
    import tensorflow as tf

    shape = {"width": 2, "input_shape": (16, 24, 3), "logit_scale": 1}
    softmax = {"classifier_activation": "softmax"}
    net = DavidNet(**shape, **softmax, augmentation=Noise(), dtype=dtype)
    policies = [layer.dtype_policy for layer in net._flatten_layers()]
    net.export(tmp_path / "net", verbose=False)
    assert policies == [layer.dtype_policy for layer in net._flatten_layers()]
    served = tf.saved_model.load(tmp_path / "net")
    float32 = DavidNet(**shape)
    float32.set_weights([w.astype("float32") for w in net.get_weights()])
    powers = np.exp(float32.predict(images, verbose=0))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        served.serve(images), expected, rtol=0, atol=1e-6
    )


@pytest.mark.filterwarnings("ignore:.*native_serialization:DeprecationWarning")
@pytest.mark.skipif(
    BACKEND == "torch", reason="Keras needs torch_xla for a SavedModel of torch"
)
@needs("tensorflow")
@pytest.mark.slow
def test_float_images_of_any_size_without_a_top(images, tmp_path):
    import tensorflow as tf

    net = DavidNet(
        width=2, input_shape=(None, None, 3), include_top=False, dropout=0
    )
    spec = keras.InputSpec(shape=(None, None, None, 3), dtype="float32")
    net.export(tmp_path / "net", verbose=False, input_signature=[spec])
    served = tf.saved_model.load(tmp_path / "net")
    for batch in (images, images[:2, :, :16]):
        np.testing.assert_allclose(
            served.serve(batch.astype("float32")),
            net.predict(batch, verbose=0),
            rtol=0,
            atol=1e-4,
        )
