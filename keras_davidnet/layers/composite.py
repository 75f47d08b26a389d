"""What layers made of layers share: copies, shapes, and their sublayers."""

from collections.abc import Iterator
from typing import Any

import keras


def clone_layer(layer: Any, index: int = 0) -> Any:
    """Copies a layer, its weights included, so that no two blocks share one.

    None, a function and a layer without a config, which cannot be saved either,
    are returned as they are, and so is a layer without weights whose class has
    other arguments than its config.  A copy with an `index` has it in its name,
    as weights need a path each.
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer
    try:
        config = layer.get_config()
        if index and "name" in config:
            config["name"] = f"{layer.name}_{index}"
        clone = type(layer).from_config(config)
    except NotImplementedError:
        return layer
    except TypeError:
        if layer.built and not layer.weights:
            return layer
        raise
    if layer.built and layer.weights:
        clone.build_from_config(layer.get_build_config())
        clone.set_weights(layer.get_weights())
    return clone


def pass_trainable(layer: keras.layers.Layer) -> None:
    """Freezes the layers of a layer that was made frozen.

    Keras does so when `trainable` is set, but not when it is an argument.
    """
    if not layer.trainable:
        # On TensorFlow it has no effect to set what is set.
        layer.trainable = True
        layer.trainable = False


def serialize(layer: Any) -> Any:
    """Config of a layer, an activation's function or None.

    A layer's is without shapes: the layer around it builds it.  Built sooner,
    its weights would lack the outer layer's name in their paths.
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer and keras.activations.serialize(layer)
    config = keras.layers.serialize(layer)
    config.pop("build_config", None)
    return config


def build_any(layer: Any, shape: tuple) -> tuple:
    """Builds any layer, one without `build` included; its output's shape."""
    if not isinstance(layer, keras.layers.Layer):
        return shape
    return layer(keras.KerasTensor(shape, dtype=layer.compute_dtype)).shape


def output_shape(layer: Any, shape: tuple) -> tuple:
    """The shape of any layer's output, whatever methods it has."""
    if not isinstance(layer, keras.layers.Layer):
        return shape
    images = keras.KerasTensor(shape, dtype=layer.compute_dtype)
    return layer.compute_output_spec(images).shape


class CompositeLayer:
    """Mixin whose config keeps what was set on sublayers later.

    `"sublayers"` holds `trainable` and the dtype policy, quantized ones
    included, of sublayers that differ in it from the layer around them.
    """

    def get_config(self) -> dict:
        config = super().get_config()  # pyright: ignore[reportAttributeAccessIssue]
        sublayers = {}
        for path, _, parent, layer in _sublayers(self):
            if layer.built and not layer.weights:
                continue  # Neither has an effect.
            changed = {}
            if layer.trainable != parent.trainable:
                changed["trainable"] = layer.trainable
            if layer.dtype_policy != parent.dtype_policy:
                changed["dtype"] = keras.dtype_policies.serialize(
                    layer.dtype_policy
                )
            quantization = getattr(layer, "quantization_config", None)
            if quantization is not None:
                changed["quantization_config"] = (
                    keras.saving.serialize_keras_object(quantization)
                )
            if changed:
                sublayers[path] = changed
        return {**config, "sublayers": sublayers} if sublayers else config

    @classmethod
    def from_config(cls, config, **kwargs):
        config = dict(config)
        sublayers = config.pop("sublayers", {})
        composite = super().from_config(config, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        for path, old_path, parent, layer in _sublayers(composite):
            changed = sublayers.get(path) or sublayers.get(old_path) or {}
            trainable = changed.get("trainable", parent.trainable)
            if layer.trainable != trainable:
                layer.trainable = trainable
            if "quantization_config" in changed:
                quantization = changed["quantization_config"]
                layer.quantize(
                    config=keras.saving.deserialize_keras_object(quantization)
                )
            if "dtype" in changed:
                policy = keras.dtype_policies.get(changed["dtype"])
                if policy != layer.dtype_policy:
                    layer.dtype_policy = policy
            # Files of 0.2.0 have these, too.
            for name in changed.keys() & {"momentum", "epsilon", "rate"}:
                setattr(layer, name, changed[name])
        return composite


def _sublayers(layer, path: str = "", old_path: str = "") -> Iterator[tuple]:
    """Yields `(path, old_path, parent, sublayer)`, a parent before its own.

    Paths are of attributes, as names may be counted up; 0.2.0's are of names.
    """
    # PyTorch's modules have their sublayers elsewhere.
    attributes = {**vars(layer), **vars(layer).get("_modules", {})}
    held = {
        id(value): "/".join((name, *map(str, keys)))
        for name, attribute in sorted(attributes.items())
        if not name.startswith("_")
        for keys, value in keras.tree.flatten_with_path(attribute)
    }
    children = layer._flatten_layers(include_self=False, recursive=False)
    for index, child in enumerate(children):
        # A Sequential has no attributes for its layers.
        child_path = path + held.get(id(child), str(index))
        child_old_path = old_path + child.name
        yield child_path, child_old_path, layer, child
        yield from _sublayers(child, f"{child_path}/", f"{child_old_path}/")
