"""The net and the update in NumPy, written from their definitions."""

import numpy as np


def conv_same(x, kernel):
    """Cross-correlation, stride 1, zeros around; NHWC and HWIO."""
    height, width = kernel.shape[:2]
    top, left = (height - 1) // 2, (width - 1) // 2
    border = ((0, 0), (top, height - 1 - top), (left, width - 1 - left), (0, 0))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, border), (height, width), axis=(1, 2)
    )
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel, optimize=True)


def batch_norm(x, weights, training, epsilon=1e-5):
    gamma, beta, mean, variance = weights
    if training:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def max_pool(x):
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def weights_of(layer):
    """The weights of a `ConvBN`: kernel, and what `batch_norm` takes."""
    arrays = [np.asarray(w, "float64") for w in layer.get_weights()]
    return arrays[0], arrays[1:]


def conv_bn(x, layer, training=False):
    kernel, norm = weights_of(layer)
    return np.maximum(batch_norm(conv_same(x, kernel), norm, training), 0)


def res_block(x, block, training=False):
    h = max_pool(conv_bn(x, block.conv, training))
    if not block.residual:
        return h
    branch = conv_bn(h, block.res1, training)
    return h + conv_bn(branch, block.res2, training)


def davidnet(images, model, mean, std, training=False):
    x = (images / 255.0 - np.array(mean)) / np.array(std)
    x = conv_bn(x, model.prep, training)
    for block in (model.layer1, model.layer2, model.layer3):
        x = res_block(x, block, training)
    kernel = np.asarray(model.linear.get_weights()[0], "float64")
    return 0.125 * (x.max((1, 2)) @ kernel)


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def sgd_step(w, v, g, rate, momentum=0.9, decay=0.0, nesterov=True):
    """One step of `torch.optim.SGD`, from its documentation."""
    g = g + decay * w
    v = momentum * v + g
    return w - rate * (g + momentum * v if nesterov else v), v
