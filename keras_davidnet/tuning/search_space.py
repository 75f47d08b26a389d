"""The arguments of a recipe, and the forms in which their values are given."""

import re
from typing import Any

from keras_davidnet._checks import is_number, to_python

# Arguments whose ranges are sampled by their logarithm.
_LOGARITHMIC = re.compile("width|batch_size|.*(rate|decay|scale)")


class Argument:
    """An argument and its values in a search.

    Args:
        name: Name of the argument and of the hyperparameter.
        given: Choices, a range or a single value, as `RecipeHyperModel` says.
        default: The recipe's own value.

    Attributes:
        values: The choices, the ends of the range, or the single value.

    Raises:
        ValueError: If `given` is an empty list or a range that does not rise.
    """

    def __init__(self, name: str, given: Any, default: Any = None):
        self.name = name
        given = to_python(given)
        # Class names have no default.
        sequence = isinstance(default, list | tuple) or name == "class_names"
        self._range = isinstance(given, tuple) and not sequence
        self._choices = isinstance(given, list) and (
            not sequence or all(isinstance(v, list | tuple) for v in given)
        )
        values: Any = given if self._range or self._choices else [given]
        if isinstance(default, float):
            values = [float(v) if is_number(v) else v for v in values]
        self.values = values
        log = _LOGARITHMIC.fullmatch(name) is not None
        self._sampling = "log" if log else "linear"
        rises = (
            len(values) == 2
            and all(map(is_number, values))
            and values[0] < values[1]
            and (values[0] > 0 or not log)
        )
        if not (rises if self._range else values):
            raise ValueError(
                f"`{name}` must be a value, a list of values or, for numbers, "
                f"a range (min, max), {'0 < ' if log else ''}min < max. "
                f"Received: {name}={given}"
            )

    def declare(self, hp) -> Any:
        """Adds the hyperparameter to `hp`; returns the argument's value."""
        kinds = set(map(type, self.values))
        if self._range:
            numbers = hp.Int if kinds == {int} else hp.Float
            return numbers(self.name, *self.values, sampling=self._sampling)
        # KerasTuner takes nothing else.
        plain = kinds in ({int}, {float}, {str})
        if not self._choices:
            (value,) = self.values
            return hp.Fixed(self.name, value) if plain else value
        if plain:
            return hp.Choice(self.name, self.values)
        names = [
            str(value)
            if isinstance(value, str | int | float | tuple | list | None)
            # Its text may hold an address, another one in the next program.
            else f"{index} {getattr(value, '__name__', type(value).__name__)}"
            for index, value in enumerate(self.values)
        ]
        return self.values[names.index(hp.Choice(self.name, names))]
