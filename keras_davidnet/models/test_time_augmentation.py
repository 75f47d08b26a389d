"""Test-time augmentation: the views of an image that inference averages."""

from keras import ops

VIEWS = (None, "mirror", "mirror_translate")


def check_views(views, include_top: bool, image_shape: tuple) -> None:
    """Raises a ValueError unless such a net can average these views."""
    if views not in VIEWS:
        raise ValueError(
            f"`views` must be one of {VIEWS}. Received: views={views!r}"
        )
    if views and not include_top:
        raise ValueError(
            "`views` averages logits, which a net without its top does not "
            f"have. Received: views={views!r}, include_top=False"
        )
    if views == "mirror_translate" and None in image_shape:
        raise ValueError(
            "To move the images they must be of a known height and width. "
            f"Received: views={views!r}, input_shape={image_shape}"
        )


def weighted_views(views: str | None, images):
    """Yields `(weight, view)` pairs, whose weights add up to 1.

    - None: the images.
    - `"mirror"`: the images and their mirror images.
    - `"mirror_translate"`: these with 1/4 each, and with 1/8 each the images
      moved by one pixel up and left, and down and right, the border reflected,
      and their mirror images (airbench's six views).

    Args:
        views: One of `VIEWS`.
        images: `(batch, height, width, channels)`.
    """
    if views is None:
        yield 1, images
        return
    if views == "mirror":
        places = [(1, images)]
    else:
        padded = ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
        places = [
            (1 / 2, images),
            (1 / 4, padded[:, :-2, :-2]),
            (1 / 4, padded[:, 2:, 2:]),
        ]
    for weight, view in places:
        yield weight / 2, view
        yield weight / 2, ops.flip(view, axis=2)
