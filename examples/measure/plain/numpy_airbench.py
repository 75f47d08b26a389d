"""airbench's whitening, Muon and views in NumPy, from their descriptions.

(Jordan, 2024, arXiv:2404.00498.)
"""

import numpy as np


def patches(images, size):
    """All patches of images `(n, height, width, channels)`, one a row.

    The order of a row's numbers is channel, row, column, as in PyTorch.
    """
    windows = np.lib.stride_tricks.sliding_window_view(
        np.asarray(images, "float64"), (size, size), axis=(1, 2)
    )
    return windows.reshape(-1, images.shape[-1] * size**2)


def whitening_kernel(images, size=2, epsilon=5e-4):
    """The whitening filters and their negatives, `(out, in, size, size)`."""
    rows = patches(images, size)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    filters = (vectors / np.sqrt(values + epsilon)).T
    filters = np.concatenate([filters, -filters])
    return filters.reshape(-1, images.shape[-1], size, size)


def newton_schulz(x, steps, coefficients=(3.4445, -4.7750, 2.0315)):
    """Of a tensor or an array."""
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def muon_step(
    w,
    v,
    g,
    rate,
    momentum=0.6,
    nesterov=True,
    steps=3,
    normalize=True,
    epsilon=1e-7,
):
    """One step of Muon on arrays `(out, ...)`; the new weights and buffer."""
    v = momentum * v + g
    u = g + momentum * v if nesterov else v
    if normalize:
        w = w * np.sqrt(len(w)) / np.linalg.norm(w)
    x = u.reshape(len(u), -1)
    x = newton_schulz(x / (np.linalg.norm(x) + epsilon), steps)
    return w - rate * x.reshape(w.shape), v


def views(images, kind):
    """How often each view counts, and the images `(n, h, w, c)` seen so."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    seen = {
        None: [(1, images)],
        "mirror": [(1, images)],
        "mirror_translate": [
            (1 / 2, images),
            (1 / 4, padded[:, :height, :width]),
            (1 / 4, padded[:, 2:, 2:]),
        ],
    }[kind]
    if kind is None:
        return seen
    return [
        (share / 2, x) for share, view in seen for x in (view, view[:, :, ::-1])
    ]
