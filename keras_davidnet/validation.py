"""Checks of arguments, each with one message for all who take such a one."""


def check_count(name: str, value, least: int = 1) -> None:
    """Raises a ValueError unless `value` is an integer of at least `least`."""
    if not isinstance(value, int) or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )


def check_fraction(name: str, value) -> None:
    """Raises a ValueError unless `value` is a number in `[0, 1)`."""
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1). Received: {name}={value!r}"
        )


def check_not_negative(name: str, value) -> None:
    """Raises a ValueError unless `value` is a number of at least 0."""
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError(
            f"`{name}` must be a number of at least 0. "
            f"Received: {name}={value!r}"
        )
