"""What the layers and nets of this package share: copies, shapes, configs."""

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import keras

# What a sublayer has of the part around it, and the part's name for it.
_HANDED_ON = {"momentum": "momentum", "epsilon": "epsilon", "rate": "dropout"}


def clone_layer(layer: Any) -> Any:
    """Copies a layer, its weights included, so that no two parts share one.

    What has no state, such as None, a function or a pooling, is returned as it
    is, and so is a layer without a config, which cannot be saved either.
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer
    if layer.built and not layer.variables:
        return layer
    try:
        config = layer.get_config()
    except NotImplementedError:
        return layer
    clone = type(layer).from_config(config)
    if layer.built and layer.weights:
        clone.build_from_config(layer.get_build_config())
        clone.set_weights(layer.get_weights())
    return clone


def unbuilt(config):
    """A layer's config without its shapes: what holds it builds it.

    Built sooner, its weights would not have the holder's name in their paths.
    Anything that is not a layer's config is returned unchanged.
    """
    if not isinstance(config, dict):
        return config
    return {k: v for k, v in config.items() if k != "build_config"}


def build_any(layer, shape: tuple) -> tuple:
    """Builds any layer, one without `build` included; its output's shape."""
    if not isinstance(layer, keras.layers.Layer):
        return shape
    return layer(keras.KerasTensor(shape, dtype=layer.compute_dtype)).shape


def output_shape(layer, shape: tuple) -> tuple:
    """The shape of any layer's output, whatever methods it has."""
    if not isinstance(layer, keras.layers.Layer):
        return shape
    images = keras.KerasTensor(shape, dtype=layer.compute_dtype)
    return layer.compute_output_spec(images).shape


class Part:
    """A layer whose config and attributes say what it is.

    - An argument of the constructor is an attribute that can be set once:
      most of them are handed on to sublayers, where a later value would have
      no effect.
    - The config has what was set on sublayers later, as `"sublayers"`:
      whether they are trainable, their dtype policies, quantised ones
      included, momentum, epsilon and rate, where these are not those of the
      layer around them, and LoRA.
    """

    def __setattr__(self, name, value):
        # PyTorch's modules have their sublayers elsewhere.
        known = {**vars(self), **vars(self).get("_modules", {})}
        if name in known and name in _arguments(type(self)):
            if value is not known[name] and value != known[name]:
                raise AttributeError(
                    f"`{name}` cannot be changed: make another "
                    f"{type(self).__name__} with it, and give it the weights "
                    f"of this one. Received: {name}={value!r}"
                )
        super().__setattr__(name, value)

    def get_config(self) -> dict:
        # Of the layer that this is mixed into.
        config = super().get_config()  # pyright: ignore[reportAttributeAccessIssue]
        sublayers = {}
        for path, parent, layer in _sublayers(self):
            changed = {
                name: getattr(layer, name)
                for name, argument in _HANDED_ON.items()
                if hasattr(layer, name)
                and hasattr(parent, argument)
                and getattr(layer, name) != getattr(parent, argument)
            }
            # Without weights these have no effect.
            if layer.weights or not layer.built:
                if layer.trainable != parent.trainable:
                    changed["trainable"] = layer.trainable
                if layer.dtype_policy != parent.dtype_policy:
                    changed["dtype"] = keras.dtype_policies.serialize(
                        layer.dtype_policy
                    )
            if getattr(layer, "lora_enabled", False):
                changed["lora_rank"] = layer.lora_rank
                changed["lora_alpha"] = layer.lora_alpha
            if changed:
                sublayers[path] = changed
        return {**config, "sublayers": sublayers} if sublayers else config

    @classmethod
    def from_config(cls, config, **kwargs):
        config = dict(config)
        changes = config.pop("sublayers", {})
        part = super().from_config(config, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        for path, _, layer in _sublayers(part):
            changed = changes.get(path, {})
            if "trainable" in changed:
                layer.trainable = changed["trainable"]
            if "dtype" in changed:
                policy = keras.dtype_policies.get(changed["dtype"])
                if policy != layer.dtype_policy:
                    layer.dtype_policy = policy
            for name in _HANDED_ON.keys() & changed.keys():
                setattr(layer, name, changed[name])
            if "lora_rank" in changed:
                rank, alpha = changed["lora_rank"], changed["lora_alpha"]
                if layer.built:
                    layer.enable_lora(rank, lora_alpha=alpha)
                else:
                    # `build` does it.
                    layer.lora_rank, layer.lora_alpha = rank, alpha
        return part


def _sublayers(layer, path: str = "") -> Iterator[tuple]:
    """Yields `(path, parent, sublayer)`, a parent before what it holds."""
    for child in layer._flatten_layers(include_self=False, recursive=False):
        child_path = f"{path}{child.name}"
        yield child_path, layer, child
        yield from _sublayers(child, f"{child_path}/")


@functools.cache
def _arguments(cls):
    """The arguments of this package's constructors among a class's bases."""
    package = __name__.partition(".")[0] + "."
    return {
        name
        for base in cls.__mro__
        if base.__module__.startswith(package) and "__init__" in vars(base)
        for name in inspect.signature(base.__init__).parameters
    }
