"""Properties that hold for all valid arguments, and for all invalid ones."""

import json

import keras
import numpy as np
import pytest

from keras_davidnet import ConvBN, DavidNet, PiecewiseLinear, ResBlock

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


def assert_round_trip(layer, shape):
    """The config survives JSON, and makes a layer of the same weights."""
    # Tuples come back as lists.
    config = json.dumps(layer.get_config())
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    restored = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(restored) is type(layer)
    assert json.dumps(restored.get_config()) == config
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
    assert_round_trip(ConvBN(**arguments), (9, 8, 2))


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
    assert_round_trip(ResBlock(**arguments), (9, 8, 2))


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
    assert_round_trip(model, arguments["input_shape"])


numbers = st.floats(-1e6, 1e6, width=32)
rates = st.floats(0, 10, width=32)


@st.composite
def knots_and_values(draw):
    """Knots a step apart at least, as the steps of a run are."""
    start = draw(st.integers(-1000, 1000))
    gaps = draw(st.lists(st.integers(1, 10_000), min_size=1, max_size=8))
    knots = np.cumsum([start, *gaps]).tolist()
    values = st.lists(rates, min_size=len(knots), max_size=len(knots))
    return knots, draw(values)


@settings(quick, max_examples=60)
@given(knots_and_values(), st.lists(st.integers(-2000, 90_000), max_size=8))
def test_piecewise_linear_equals_numpys_interp(arguments, steps):
    knots, values = arguments
    schedule = PiecewiseLinear(knots, values)
    steps = [*knots, *steps]
    np.testing.assert_allclose(
        [keras.ops.convert_to_numpy(schedule(step)) for step in steps],
        np.interp(steps, knots, values),
        rtol=1e-5,
        atol=1e-7,
    )
    assert (
        schedule.get_config()
        == PiecewiseLinear.from_config(schedule.get_config()).get_config()
    )


@settings(quick, max_examples=60)
@given(knots_and_values(), st.data())
def test_what_is_no_schedule_is_refused(arguments, data):
    knots, values = arguments
    index = data.draw(st.integers(0, len(knots) - 2))
    what = data.draw(st.sampled_from(["fall", "drop", "negative", "number"]))
    if what == "fall":
        knots[index + 1] = knots[index] - data.draw(st.integers(0, 9))
    elif what == "drop":
        del data.draw(st.sampled_from([knots, values]))[index]
    elif what == "negative":
        values[index] = data.draw(st.floats(max_value=-1e-9))
    else:
        bad = st.sampled_from([float("nan"), float("inf"), True, "1", None])
        data.draw(st.sampled_from([knots, values]))[index] = data.draw(bad)
    with pytest.raises(ValueError, match="Received: "):
        PiecewiseLinear(knots, values)
