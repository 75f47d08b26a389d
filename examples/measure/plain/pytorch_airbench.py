"""airbench in plain PyTorch and NumPy: what the package is compared with.

Written from the recipes' description, with nothing of Keras in it: the nets
of airbench94, 95 and 96, the whitening, the training steps with Muon and
without, and the views that are averaged at test time (Jordan, 2024,
arXiv:2404.00498).
"""

import numpy as np
import torch
from plain import pytorch_airbench94 as plain_airbench
from plain.pytorch_airbench94 import newton_schulz
from torch import nn
from torch.nn import functional as F

EPS = 1e-12


class BatchNorm(nn.Module):
    """Without a scale; the moving variance is the biased one, as Keras's."""

    def __init__(self, channels, momentum):
        super().__init__()
        self.momentum = momentum
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, None, self.bias, eps=EPS
            )
        with torch.no_grad():
            dims = (0, 2, 3)
            new = 1 - self.momentum
            self.running_mean.lerp_(x.mean(dims), new)
            self.running_var.lerp_(x.var(dims, unbiased=False), new)
        return F.batch_norm(x, None, None, None, self.bias, True, eps=EPS)


class Airbench(plain_airbench.Airbench):
    """airbench's net with Keras's moving variance."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, norm=BatchNorm, **kwargs)


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


def groups_of(
    net, batch, summed, bias_learning_rate, head_learning_rate, weight_decay
):
    """What `torch.optim.SGD` trains; the decay is that per image.

    The rates are for the loss summed over the batch.  Those for the mean loss
    are `batch` times as large, and the decays as much smaller.
    """
    biases = [m.bias for m in net.modules() if isinstance(m, BatchNorm)]
    groups = []
    for parameters, rate in (
        ([net.whiten.bias], bias_learning_rate),
        (biases, bias_learning_rate),
        ([net.linear.weight], head_learning_rate),
    ):
        decay = weight_decay * batch / rate
        if not summed:
            rate, decay = rate * batch, decay / batch
        groups.append(
            {
                "params": parameters,
                "lr": rate,
                "peak": rate,
                "weight_decay": decay,
            }
        )
    return groups


def train(
    net,
    batches,
    bias_steps,
    summed,
    filters_learning_rate=0.24,
    filters_momentum=0.6,
    bias_learning_rate=0.053,
    head_learning_rate=0.67,
    sgd_momentum=0.85,
    weight_decay=2e-6,
    label_smoothing=0.2,
):
    """Steps with Muon, one for each batch of images and labels.

    The whitening bias is frozen after `bias_steps`.  The defaults are
    airbench94_muon's numbers.
    """
    net.train()
    batch = len(batches[0][0])
    sgd = torch.optim.SGD(
        groups_of(
            net,
            batch,
            summed,
            bias_learning_rate,
            head_learning_rate,
            weight_decay,
        ),
        momentum=sgd_momentum,
        nesterov=True,
    )
    whitening, *others = sgd.param_groups
    kernels = net.convolutions()
    buffers = [np.zeros(w.shape) for w in kernels]
    for step, (x, y) in enumerate(batches):
        left = 1 - step / len(batches)
        for group in others:
            group["lr"] = group["peak"] * left
        whitening["lr"] = whitening["peak"] * (1 - step / bias_steps)
        net.whiten.bias.requires_grad_(step < bias_steps)
        net.zero_grad(set_to_none=True)
        F.cross_entropy(
            net(x),
            y,
            label_smoothing=label_smoothing,
            reduction="sum" if summed else "mean",
        ).backward()
        sgd.step()
        for i, w in enumerate(kernels):
            new, buffers[i] = muon_step(
                w.detach().numpy(),
                buffers[i],
                w.grad.numpy(),
                filters_learning_rate * left,
                filters_momentum,
                # Beside a gradient so much larger, the same.
                epsilon=1e-7 * batch if summed else 1e-7,
            )
            w.data.copy_(torch.from_numpy(new))


def train_with_lookahead(
    net, batches, rate, decay, warmup, final, bias_steps, summed
):
    """The steps of airbench94, 95 and 96, one for each batch.

    `rate` and `decay` are the source's "decoupled" ones, for 1024 images.  The
    whitening bias is frozen after `bias_steps`.
    """
    net.train()
    batch, steps = len(batches[0][0]), len(batches)
    scale = 1024 * (1 + 1 / (1 - 0.85))
    lr, decay = rate / scale, decay * batch / scale
    biases = [m.bias for m in net.modules() if isinstance(m, BatchNorm)]
    rest = [
        p
        for p in net.parameters()
        if p.requires_grad and all(p is not bias for bias in biases)
    ]
    mean = 1 if summed else batch
    sgd = torch.optim.SGD(
        [
            {
                "params": parameters,
                "lr": peak * mean,
                "peak": peak * mean,
                "weight_decay": decay / peak / mean,
            }
            for parameters, peak in ((rest, lr), (biases, 64 * lr))
        ],
        momentum=0.85,
        nesterov=True,
    )
    factors = np.interp(
        np.arange(steps), [0, int(warmup * steps), steps], [0.2, 1, final]
    )
    slow = {name: t.clone() for name, t in net.state_dict().items()}
    for step, (x, y) in enumerate(batches):
        for group in sgd.param_groups:
            group["lr"] = group["peak"] * factors[step]
        net.whiten.bias.requires_grad_(step < bias_steps)
        net.zero_grad(set_to_none=True)
        F.cross_entropy(
            net(x),
            y,
            label_smoothing=0.2,
            reduction="sum" if summed else "mean",
        ).backward()
        sgd.step()
        if (step + 1) % 5 == 0:
            kept = 0.95**5 * ((step + 1) / steps) ** 3
            for name, tensor in net.state_dict().items():
                slow[name] = kept * slow[name] + (1 - kept) * tensor
                tensor.copy_(slow[name])
    net.load_state_dict(slow)


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
