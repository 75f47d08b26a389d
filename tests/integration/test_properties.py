"""Properties that hold for all valid arguments, and for all invalid ones."""

import json

import keras
import pytest

from keras_davidnet import ConvBN, DavidNet, ResBlock

hypothesis = pytest.importorskip("hypothesis", reason="the extra `test`")
from hypothesis import (  # noqa: E402
    given,
    settings,
    strategies as st,  # noqa: E402
)

quick = settings(deadline=None, derandomize=True, max_examples=15)

counts = st.integers(1, 3)
fractions = st.floats(0, 0.99)
initializers = st.sampled_from(["he_normal", "zeros", "glorot_uniform"])
conv_bn = {
    "filters": counts,
    "kernel_size": counts | st.tuples(counts, counts),
    "activation": st.sampled_from(["relu", "gelu", "silu", None]),
    "kernel_initializer": initializers,
    "momentum": st.floats(0, 1),
    "epsilon": st.floats(0, 1),
    "dropout": fractions,
    "dtype": st.sampled_from(["float32", "mixed_bfloat16"]),
}


def assert_round_trip(layer, arguments, shape):
    """The config survives JSON, and makes a layer of the same weights."""
    # Tuples come back as lists.
    config = json.dumps(layer.get_config())
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    restored = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(restored) is type(layer)
    assert json.dumps(restored.get_config()) == config
    given = {k: v for k, v in arguments.items() if isinstance(v, int | float)}
    assert given == {k: restored.get_config()[k] for k in given}
    assert restored.name == layer.name
    inputs = keras.Input(shape)
    assert restored(inputs).shape == layer(inputs).shape
    one, other = (
        [(w.path, w.shape, w.dtype) for w in built.weights]
        for built in (layer, restored)
    )
    assert one == other


@quick
@given(
    st.fixed_dictionaries(
        {
            **conv_bn,
            "strides": counts,
            "padding": st.sampled_from(["same", "valid"]),
        }
    )
)
def test_conv_bn_round_trip(arguments):
    assert_round_trip(ConvBN(**arguments), arguments, (9, 8, 2))


@quick
@given(
    st.fixed_dictionaries(
        {
            **conv_bn,
            "residual": st.booleans(),
            "pool": st.sampled_from(["max", None, "average"]),
        }
    )
)
def test_res_block_round_trip(arguments):
    if arguments["pool"] == "average":
        arguments["pool"] = keras.layers.AveragePooling2D(2)
    assert_round_trip(ResBlock(**arguments), arguments, (9, 8, 2))


@settings(quick, max_examples=8)
@given(
    st.fixed_dictionaries(
        {
            "num_classes": st.integers(2, 5),
            "width": counts,
            "input_shape": st.tuples(
                st.integers(8, 20) | st.none(), st.integers(8, 20), st.just(1)
            ),
            "mean": st.tuples(st.floats(-1, 1)),
            "std": st.tuples(st.floats(0.001, 1)),
            "augmentation": st.sampled_from(["crop_flip", None]),
            "dropout": fractions,
            "logit_scale": st.floats(0, 4),
            "label_smoothing": fractions,
            "dtype": st.sampled_from(["float32", "mixed_float16"]),
        }
    ),
    st.sampled_from([(True, "mirror"), (True, None), (False, None)]),
)
@pytest.mark.slow
def test_davidnet_round_trip(arguments, top_and_views):
    top, views = top_and_views
    model = DavidNet(**arguments, include_top=top, views=views)
    assert_round_trip(model, arguments, arguments["input_shape"])
