"""Each public part, trained, saved, loaded, copied and made again."""

import copy
import functools
import inspect
import json
import pathlib
import subprocess
import sys

import every_part
import keras
import numpy as np
import pytest

from keras_davidnet import (
    CELU,
    Airbench,
    ConvBN,
    ConvGroup,
    CoupledSGD,
    DavidNet,
    Dirac,
    ExponentialAverage,
    GhostBatchNormalization,
    GhostBlock,
    ImageClassifier,
    Lookahead,
    Muon,
    NavierStoked,
    PiecewiseLinear,
    PyTorchSGD,
    PyTorchUniform,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
    ResBlock,
    WhitenedDavidNet,
    WhiteningConv2D,
)

# The others are made of these; one of each class is enough while one works.
PLAIN = (
    "conv_bn",
    "res_block",
    "conv_group",
    "whitening",
    "ghost_batch_norm",
    "ghost_block",
    "augmentation",
    "davidnet",
    "airbench",
    "whitened_davidnet",
)


def parts(names):
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(n, marks=() if n in PLAIN else pytest.mark.slow)
            for n in names
        ],
    )


EVERY_PART = parts(every_part.PARTS)
# Half of it is slow on a CPU: few are trained.
MIXED = ("res_block_prelu", "conv_group_prelu", "davidnet_float32_head")
QUANTIZED = {
    "int8": {"mode": "int8"},
    "int8_weights": {
        "config": keras.quantizers.Int8QuantizationConfig(
            activation_quantizer=None
        )
    },
    "int4": {"config": keras.quantizers.Int4QuantizationConfig(block_size=8)},
}
SAVED = [
    *(f"{name}-float32" for name in every_part.PARTS),
    *(f"{name}-mixed_bfloat16" for name in MIXED),
    *QUANTIZED,
]


@pytest.fixture(scope="module")
def trained():
    """Gives a part by name and precision; those that are saved after a step."""

    @functools.cache
    def make(name):
        keras.utils.set_random_seed(0)
        if name in QUANTIZED:
            net = DavidNet(num_classes=3, width=1, input_shape=(16, 16, 3))
            with pytest.warns(UserWarning, match="quantiz"):
                net.quantize(**QUANTIZED[name])
            return net
        model = every_part.make(*name.split("-"))
        if name in SAVED:
            model.fit(*every_part.data(), batch_size=8, verbose=0)
        return model

    return make


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    """Saved, and loaded by one other process."""
    folder = tmp_path_factory.mktemp("every_part")
    for name in SAVED:
        trained(name).save(folder / f"{name}.keras")
    script = pathlib.Path(every_part.__file__)
    subprocess.run([sys.executable, script, folder, *SAVED], check=True)
    return folder


def assert_same(one: dict, other: dict):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


@pytest.mark.parametrize(
    "name", [*(f"{name}-float32" for name in PLAIN), *QUANTIZED]
)
def test_loads_as_it_was(trained, tmp_path, name):
    model = trained(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(every_part.state(model), every_part.state(loaded))


@pytest.mark.slow
@pytest.mark.parametrize("name", SAVED)
def test_loads_in_another_process_as_it_was(trained, folder, name):
    with np.load(folder / f"{name}.npz") as loaded:
        assert_same(every_part.state(trained(name)), dict(loaded))


def without_optimizer(model):
    state = every_part.state(model)
    return {name: state[name] for name in ("outputs", "description")}


@EVERY_PART
@pytest.mark.parametrize("how", ["clone", "deepcopy"])
def test_copies_are_alike(trained, name, how):
    model = trained(f"{name}-float32")
    if how == "clone":
        other = keras.models.clone_model(model)
        other.set_weights(model.get_weights())
    else:
        other = copy.deepcopy(model)
    assert_same(without_optimizer(model), without_optimizer(other))


@EVERY_PART
def test_made_again_in_another_precision(trained, name):
    def in_float32(layer):
        return layer.from_config({**layer.get_config(), "dtype": "float32"})

    mixed, plain = (
        trained(f"{name}-{dtype}") for dtype in ("mixed_bfloat16", "float32")
    )
    again = (
        in_float32(mixed)
        if name in every_part.NETS
        else keras.models.clone_model(mixed, clone_function=in_float32)
    )
    again.set_weights(plain.get_weights())
    assert_same(without_optimizer(plain), without_optimizer(again))


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["davidnet", "airbench", "whitened_davidnet"])
def test_channels_are_last(trained, channels_first, name):
    """Whatever Keras's settings say."""
    model = trained(f"{name}-float32")
    other = every_part.NETS[name]("float32")
    other.set_weights(model.get_weights())
    assert_same(without_optimizer(model), without_optimizer(other))


@pytest.mark.parametrize("cls", [ConvBN, ResBlock, ConvGroup])
def test_what_was_left_alone_is_not_in_the_config(cls):
    part = cls(4)
    part.build((None, 16, 16, 3))
    assert "sublayers" not in part.get_config()


def test_one_layer_given_twice_is_copied():
    pool = keras.layers.Conv2D(4, 3, strides=2)
    pool.build((None, 16, 16, 4))
    blocks = [
        ResBlock(4, residual=True, pool=pool, activation=every_part.prelu())
        for _ in range(2)
    ]
    for block in blocks:
        block.build((None, 16, 16, 3))
        np.testing.assert_array_equal(block.pool.kernel, pool.kernel)
        # 3 kernels, their 3 times 4 of normalization, 3 slopes, the pool's 2.
        assert len({id(w) for w in block.weights}) == 3 + 12 + 3 + 2
    assert blocks[0].pool.kernel is not blocks[1].pool.kernel


def test_sublayers_by_the_names_of_earlier_files():
    config = ConvBN(4, activation=every_part.prelu()).get_config()
    config["sublayers"] = {
        "conv": {"trainable": False, "dtype": "float16"},
        "slope": {"trainable": False},
        "bn": {"epsilon": 0.25},
    }
    layer = ConvBN.from_config(config)
    assert layer.trainable and layer.bn.trainable
    assert not layer.conv.trainable and not layer.activation.trainable
    assert layer.conv.dtype_policy.name == "float16"
    assert layer.bn.epsilon == 0.25


def test_copies_of_an_activation_have_paths_of_their_own():
    group = ConvGroup(4, residual=True, activation=every_part.prelu())
    group.build((None, 16, 16, 3))
    paths = [w.path for w in group.weights]
    assert len(set(paths)) == len(paths)


def test_logit_scale_set_later_reaches_the_compiled_steps():
    net = every_part.small(DavidNet, "float32", width=1, dropout=0)
    net.compile(jit_compile=every_part.BACKEND == "jax")
    images, labels = every_part.data()
    before = net.predict(images, verbose=0)
    net.evaluate(images, labels, verbose=0)
    net.logit_scale *= 4
    after = net.predict(images, verbose=0)
    np.testing.assert_allclose(after, 4 * before, rtol=1e-5)
    log_p = after - np.log(np.exp(after).sum(-1, keepdims=True))
    expected = -log_p[np.arange(8), labels].mean()
    loss, _ = net.evaluate(images, labels, verbose=0)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert DavidNet.from_config(net.get_config()).logit_scale == 0.5
    with pytest.raises(ValueError, match="logit_scale=-1"):
        net.logit_scale = -1


@pytest.mark.parametrize(
    "cls, config",
    [(ConvBN, {"filters": 4}), (ResBlock, {"filters": 4}), (DavidNet, {})],
)
def test_partial_configs_have_the_defaults(cls, config):
    one, other = (
        {**part.get_config(), "name": None}
        for part in (cls.from_config(config), cls(**config))
    )
    assert one == other


def test_configs_and_files_take_custom_objects(tmp_path):
    class Shift(keras.layers.Layer):
        def call(self, images):
            return images + 1

    net = every_part.small(DavidNet, "float32", width=1, augmentation=Shift())
    config = net.get_config()
    again = DavidNet.from_config(config, custom_objects={"Shift": Shift})
    assert type(again.augmentation) is Shift
    net.save(tmp_path / "net.keras")
    again = keras.saving.load_model(
        tmp_path / "net.keras", custom_objects={"Shift": Shift}
    )
    assert type(again.augmentation) is Shift


# Made in the test: to collect tests should not build nets.
CONFIGURED = {
    "ConvBN": lambda: ConvBN(4, kernel_size=(3, 5), strides=2),
    "ResBlock": lambda: ResBlock(4, residual=True),
    "ConvGroup": lambda: ConvGroup(4, residual=True),
    "WhiteningConv2D": WhiteningConv2D,
    "GhostBatchNormalization": lambda: GhostBatchNormalization(4),
    "GhostBlock": lambda: GhostBlock(4, residual=True, groups=2),
    "CELU": lambda: CELU(0.3),
    "RandomPadCrop": lambda: RandomPadCrop(2, seed=1),
    "RandomHorizontalFlip": lambda: RandomHorizontalFlip(seed=1),
    "RandomCutout": lambda: RandomCutout(4, seed=1),
    "PyTorchUniform": lambda: PyTorchUniform(seed=1),
    "Dirac": Dirac,
    "PiecewiseLinear": lambda: PiecewiseLinear([0, 2, 4], [0, 0.1, 0]),
    "PyTorchSGD": lambda: PyTorchSGD(0.1, momentum=0.9, nesterov=True),
    "CoupledSGD": lambda: CoupledSGD(0.1, momentum=0.9, nesterov=True),
    "Muon": lambda: Muon(0.1),
    "Lookahead": lambda: Lookahead("sgd", ramp_steps=4),
    "ExponentialAverage": lambda: ExponentialAverage("sgd"),
    "DavidNet": lambda: DavidNet(width=1, input_shape=(8, 16, 3)),
    "Airbench": lambda: Airbench(
        widths=(2, 3, 4), input_shape=(16, 16, 3), views=None
    ),
    "NavierStoked": lambda: NavierStoked(
        widths=(2, 3, 4), inner_widths=(3, 2, 5), input_shape=(16, 16, 3)
    ),
    "WhitenedDavidNet": lambda: WhitenedDavidNet(
        width=1, input_shape=(8, 16, 3)
    ),
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_argument_is_in_the_config(name):
    part = CONFIGURED[name]()
    classes = [type(part)]
    if isinstance(part, ImageClassifier):
        classes.append(ImageClassifier)
    names = {n for c in classes for n in inspect.signature(c).parameters}
    assert names - {"kwargs"} <= part.get_config().keys()


def in_numpy(value):
    if isinstance(value, bool | int | float):
        return np.array(value)[()]
    if isinstance(value, tuple | list) and value:
        if all(isinstance(v, int | float) for v in value):
            return np.array(value)
    return value


@pytest.mark.parametrize("name", CONFIGURED)
def test_arguments_of_numpys(name):
    """They mean the same, and do not turn up in configs."""
    part = CONFIGURED[name]()
    config = part.get_config()
    names = inspect.signature(type(part)).parameters.keys() & config.keys()
    arguments = {name: in_numpy(config[name]) for name in names}
    config = json.loads(json.dumps(config))
    made = json.loads(json.dumps(type(part)(**arguments).get_config()))
    assert {n: made[n] for n in names} == {n: config[n] for n in names}
