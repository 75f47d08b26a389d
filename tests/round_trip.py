"""A net from its own config."""

import json


def restored(model, arguments):
    """A net from the config of `model`, which was made with the arguments."""
    config = json.loads(json.dumps(model.get_config()))
    net = type(model).from_config(config)
    for name, value in arguments.items():
        # Keras's own attribute `input_shape` has the batch, too.
        given = getattr(net, "image_shape" if name == "input_shape" else name)
        assert given == value
    assert net.get_config() == model.get_config()
    return net
