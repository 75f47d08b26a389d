"""Builds a net at the end of its construction, not before."""

import contextlib
import inspect

import keras


class BuiltWhenMade(type(keras.Model)):
    """Builds a net when its constructor and those of subclasses are done.

    With its weights there from the start, a net can be summarised, loaded into
    and backed up before it has seen images.  As building locks a Keras model, a
    subclass can add layers until then.
    """

    # Pyright does not know that a model's type is a metaclass.
    def __call__(cls, *args, **kwargs):  # pyright: ignore[reportSelfClsParameterName]
        net = super().__call__(*args, **kwargs)
        net.build(net.input_shape)
        if not all(layer.built for layer in net.layers):
            # A subclass has more.  If its call cannot be traced, the first
            # images build them, as in any model.
            with contextlib.suppress(Exception):
                keras.Operation.compute_output_spec(
                    net, keras.KerasTensor(net.input_shape)
                )
        return net

    @property
    def __signature__(cls):
        _, *arguments = inspect.signature(cls.__init__).parameters.values()
        return inspect.Signature(arguments)
