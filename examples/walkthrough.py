# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Walkthrough: from eager tensors to a trained model
#
# This notebook builds up the training of a small image classifier, one idea at
# a time. Each idea is shown by a few lines of code and a picture or a number.
# It is for readers who have used Keras before, and it takes less than five
# minutes on two CPU cores.
#
# The first part is about DavidNet, [David
# Page's](https://github.com/davidcpage/cifar10-fast) ResNet-9 of 2018. The last
# part is about what later work added, as
# [airbench](https://arxiv.org/abs/2404.00498) of 2024 uses it.
#
# The images are a part of CIFAR-10 if the environment variable `CIFAR10_NPZ`
# names a file that `datasets.load_cifar10` can read. Otherwise they are
# scikit-learn's handwritten digits in random colors, which need no download.

# %%
import os
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # docs/speed.md

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from keras_davidnet import (
    ConvBN,
    DavidNet,
    Dirac,
    Muon,
    PiecewiseLinear,
    PyTorchSGD,
    PyTorchUniform,
    RandomCutout,
    RandomHorizontalFlip,
    RandomPadCrop,
    ResBlock,
    datasets,
    optimizers,
    recipes,
)

keras.utils.set_random_seed(0)
plt.rcParams.update(
    {
        "figure.dpi": 120,
        "figure.figsize": (5, 2.3),
        "figure.constrained_layout.use": True,
        "font.size": 9,
    }
)

# %% [markdown]
# ## The images
#
# Images are arrays of shape `(n, height, width, channels)` with whole numbers
# from 0 to 255. Labels are whole numbers from 0 to 9.

# %%
PHOTOS = "CIFAR10_NPZ" in os.environ
if PHOTOS:
    train, test = datasets.load_cifar10(os.environ["CIFAR10_NPZ"])
    x_train, y_train = (array[:4000] for array in train)
    x_test, y_test = (array[:1000] for array in test)
    CLASSES = "plane car bird cat deer dog frog horse ship truck".split()
else:
    digits = load_digits()
    images = (digits.images * 255 / 16).repeat(4, axis=1).repeat(4, axis=2)
    # From gray 8x8 pixels to 32x32, each image in a random color.
    colors = np.random.default_rng(0).uniform(0.3, 1, (len(images), 1, 1, 3))
    images = (images[..., None] * colors).astype("uint8")
    x_train, x_test = images[:1400], images[1400:]
    y_train, y_test = digits.target[:1400], digits.target[1400:]
    CLASSES = [str(digit) for digit in range(10)]

for name, array in (("x_train", x_train), ("x_test", x_test)):
    print(name, array.shape, array.dtype)


# %% alt="Eight training images with their classes"
def show(rows):
    """Draws rows of images, given as {title: images in 0..1 or uint8}."""
    figure, axes = plt.subplots(
        len(rows), figsize=(5, 0.95 * len(rows)), squeeze=False
    )
    for axis, (title, row) in zip(axes[:, 0], rows.items(), strict=True):
        white = 255 if np.asarray(row).dtype == "uint8" else 1
        gaps = [(0, 0), (0, 0), (0, 2), (0, 0)]
        framed = np.pad(row, gaps, constant_values=white)
        axis.imshow(np.concatenate(framed, axis=1), interpolation="nearest")
        axis.set_title(title, fontsize=9, loc="left")
        axis.axis("off")
    plt.show()


show({", ".join(CLASSES[label] for label in y_train[:8]): x_train[:8]})

# %% [markdown]
# ## Eager and graph execution
#
# TensorFlow runs an operation as soon as Python reaches it. The result is a
# tensor that holds numbers. This is called eager execution.

# %%
a = tf.constant([[1.0, 2.0], [3.0, 4.0]])
a @ a

# %% [markdown]
# `fit`, `evaluate` and `predict` work in another way. Keras calls the model
# with a symbolic tensor, which has a shape but no numbers, and TensorFlow
# records the operations as a graph. Each step then runs the graph, without
# Python. `compile(run_eagerly=True)` turns this off, which helps to debug a
# layer.
#
# The layer below prints a line whenever Python runs its `call`. Keras calls it
# once to build the model. In eager mode, three batches print three more lines.
# In graph mode they print only one, when the graph is recorded.


# %%
class Announce(keras.layers.Layer):
    def call(self, x):
        print("   call:", type(x).__name__)
        return x


print("build")
announce = keras.Sequential([keras.Input((4,)), Announce()])
for run_eagerly in (True, False):
    print(f"run_eagerly={run_eagerly}")
    announce.compile(run_eagerly=run_eagerly)
    announce.predict(np.ones((30, 4)), batch_size=10, verbose=0)

# %% [markdown]
# The graph is also faster, most of all for small batches, where Python takes
# most of the time.

# %%
for run_eagerly in (True, False):
    model = DavidNet(width=4)
    model.compile(run_eagerly=run_eagerly)
    model.train_on_batch(x_train[:10], y_train[:10])  # records the graph
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        model.train_on_batch(x_train[:10], y_train[:10])
        seconds.append(time.perf_counter() - start)
    best = 1000 * min(seconds)
    print(f"run_eagerly={run_eagerly}: {best:.0f} ms, the best of five steps")

# %% [markdown]
# ## How the weights start
#
# Keras draws new weights uniformly between -a and a, with Glorot's `a = sqrt(6
# / (fan_in + fan_out))`. PyTorch uses `a = 1 / sqrt(fan_in)`. Here `fan_in` is
# the number of inputs that one output is computed from, and `fan_out` the
# number of outputs that one input is used for. DavidNet was tuned with
# PyTorch's distribution, so this package provides it as `PyTorchUniform`. It is
# narrower than Glorot's, both for DavidNet's convolutions and for its linear
# layer.

# %% alt="Histograms of Glorot's and PyTorch's weights for two layers"
shapes = {"3x3 convolution, 64 to 128": (3, 3, 64, 128), "linear": (512, 10)}
initializers = {
    "Glorot": keras.initializers.GlorotUniform(seed=0),
    "PyTorch": PyTorchUniform(seed=0),
}
figure, axes = plt.subplots(1, 2)
for axis, (layer, shape) in zip(axes, shapes.items(), strict=True):
    for name, initializer in initializers.items():
        weights = np.ravel(initializer(shape))
        label = f"{name}, std {weights.std():.3f}"
        axis.hist(weights, bins=40, alpha=0.5, density=True, label=label)
    axis.set_title(layer, fontsize=9)
    axis.legend(fontsize=7, loc="lower center")
    axis.set_yticks([])
    axis.locator_params(axis="x", nbins=5)
plt.show()

# %% [markdown]
# ## The blocks and the model
#
# `ConvBN` is a 3x3 convolution, dropout, batch normalization and a ReLU.
# `ResBlock` is a `ConvBN` and a max pooling that halves height and width. With
# `residual=True` it continues with two more `ConvBN`s, whose output is added to
# their input.

# %%
for layer in (ConvBN(16), ResBlock(16), ResBlock(16, residual=True)):
    output = layer(x_train[:4] / 255)
    print(f"{layer.name:12} {output.shape} {layer.count_params():6,} weights")

# %% [markdown]
# DavidNet is one `ConvBN`, three `ResBlock`s, a global max pooling and a linear
# layer. Its `width` is the number of filters of the first convolution: 64 in
# the published model, 8 here to save time. The model needs the mean and the
# standard deviation of the training images, as numbers from 0 to 1.

# %%
mean = x_train.mean((0, 1, 2)) / 255
std = x_train.std((0, 1, 2)) / 255
AUGMENTATION = "crop_flip" if PHOTOS else "crop"  # digits must not be flipped


def new_davidnet():
    """Returns the same model with the same weights at each call."""
    keras.utils.set_random_seed(0)
    return DavidNet(width=8, mean=mean, std=std, augmentation=AUGMENTATION)


model = new_davidnet()
print(f"{model.count_params():,} weights at width 8")
print(f"{DavidNet(width=64).count_params():,} weights at width 64")

# %% [markdown]
# The diagram is drawn from the model's own layers. Read it row by row. The size
# of each block's output is on the right.


# %% alt="DavidNet: five rows of boxes, with arcs over two residual branches"
def boxes(block):
    """The names of a block's steps, and whether it has a residual branch."""
    if isinstance(block, ConvBN):
        return [f"ConvBN {block.filters}"], False
    names = [f"ConvBN {block.filters}", "max pool"]
    if block.residual:
        names += [f"ConvBN {block.filters}"] * 2
    return names, block.residual


def draw_net(model):
    figure, axis = plt.subplots(figsize=(5.5, 3.6))
    shape, y = (None, *model.image_shape), 0
    rows = []
    for block in model.body:
        shape = block.compute_output_shape(shape)
        rows.append((block.name, *boxes(block), shape[1:]))
    head = ["global max", "linear", f"times {model.logit_scale}"]
    rows.append(("head", head, False, (model.num_classes,)))
    for y, (name, steps, residual, shape) in enumerate(rows):
        axis.text(-0.2, y, name, ha="right", va="center", weight="bold")
        for x, step in enumerate(steps):
            color = "#cfe3f7" if "Conv" in step else "#f7e3cf"
            axis.add_patch(plt.Rectangle((x, y - 0.22), 0.86, 0.44, fc=color))
            axis.text(x + 0.43, y, step, ha="center", va="center", fontsize=7)
            axis.plot([x - 0.14, x], [y, y], color="grey")
        end = len(steps) - 0.14
        if residual:
            arc = [1.93, 1.93, end + 0.07, end + 0.07]
            axis.plot(arc, [y, y - 0.38, y - 0.38, y], color="tab:red")
            axis.plot(
                [end + 0.07], [y], "o", color="white", mec="tab:red", ms=9
            )
            axis.plot([end + 0.07], [y], "+", color="tab:red")
        size = " x ".join(str(n) for n in shape)
        axis.text(4.15, y, size, va="center", fontsize=8)
    axis.set(xlim=(-1, 5.1), ylim=(y + 0.4, -0.5))
    axis.axis("off")
    plt.show()


draw_net(model)

# %% [markdown]
# ## Why the logits are scaled
#
# The global max pooling takes the largest of many numbers, so its outputs are
# large, and so are the logits. The softmax of large logits is nearly certain of
# one class, which an untrained model should not be. DavidNet multiplies the
# logits by 1/8. Every class then starts with nearly the same probability, and
# the loss starts near ln 10, the loss of ten equal probabilities. On the right,
# the dotted lines are ln 10 and 1/8.

# %% alt="Probabilities of ten classes, and the loss over the scale"
images, labels = x_train[:200], y_train[:200]
logits = np.array(model(images, training=True)) / model.logit_scale
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

figure, axes = plt.subplots(1, 2)
for scale, offset in ((1, -0.2), (1 / 8, 0.2)):
    probabilities = keras.ops.softmax(scale * logits[0])
    axes[0].bar(np.arange(10) + offset, probabilities, 0.4, label=f"x {scale}")
axes[0].set(xlabel="class", ylabel="probability", xticks=range(10))
axes[0].legend(fontsize=8)
scales = 2.0 ** np.arange(-6, 3)
losses = [float(cross_entropy(labels, scale * logits)) for scale in scales]
axes[1].semilogx(scales, losses, marker="o", base=2)
axes[1].axhline(np.log(10), color="grey", linestyle=":")
axes[1].axvline(1 / 8, color="grey", linestyle=":")
axes[1].set(xlabel="scale of the logits", ylabel="loss at the start")
plt.show()

# %% [markdown]
# ## Normalization and padding
#
# The model learns best from inputs around 0 with a standard deviation of 1. The
# model does this itself, in its first layer: it takes raw images, and nothing
# has to be prepared outside.

# %%
normalized = np.array(model.normalization(x_train))
for name, array in (("raw", x_train), ("normalized", normalized)):
    print(f"{name:10} mean {array.mean():7.3f}, std {array.std():6.3f}")

# %% [markdown]
# For the random crop that follows, each image grows by 4 pixels on all sides.
# The new pixels are a reflection of those inside, so there is no black border.
# In these pictures of normalized images, gray is 0.


# %% alt="Eight images: raw, normalized, and padded by reflection"
def visible(normalized):
    """Normalized images as colors: 0 is gray."""
    return np.clip(np.array(normalized) / 5 + 0.5, 0, 1)


padding = [(0, 0), (4, 4), (4, 4), (0, 0)]
show(
    {
        "raw, 32 x 32": x_train[:8],
        "normalized": visible(normalized[:8]),
        "padded, 40 x 40": visible(np.pad(normalized[:8], padding, "reflect")),
    }
)

# %% [markdown]
# ## Crop, flip, cutout
#
# In every epoch the model sees each image in another version, so that it cannot
# memorize the images. Each image gets its own random crop, flip or cutout.
# Below, the batch is one image, eight times. `RandomCutout` sets a square to 0,
# the mean color. Outside of training, the layers do nothing.

# %% alt="One image under eight random crops, flips and cutouts"
same = normalized[[2] * 8]
crop, flip = RandomPadCrop(4, seed=0), RandomHorizontalFlip(seed=0)
cutout = RandomCutout(8, seed=0)
show(
    {
        "not training": visible(crop(same, training=False)),
        "crop": visible(crop(same, training=True)),
        "flip": visible(flip(same, training=True)),
        "cutout": visible(cutout(same, training=True)),
    }
)

# %% [markdown]
# ## The learning-rate schedule
#
# DavidNet's learning rate follows a triangle: it rises from 0 to a peak in the
# first fifth of the training, then falls to 0 at the end. It changes at every
# step, not only at every epoch.

# %% alt="The learning rate over 24 epochs: a triangle with its peak at 5"
triangle = PiecewiseLinear.from_epochs(
    [0, 5, 24], [0.0, 0.4, 0.0], steps_per_epoch=97
)
steps = np.arange(24 * 97)
plt.figure()
plt.plot(steps / 97, [float(triangle(step)) for step in steps])
plt.xlabel("epoch")
plt.ylabel("learning rate")
plt.show()

# %% [markdown]
# ## Momentum: PyTorch's and Keras's
#
# Momentum adds up past gradients `g` in a velocity `v`, and moves a weight `w`
# by it. The learning rate can be in one of two places:
#
# - PyTorch: `v = momentum * v + g`, then `w = w - learning_rate * v`.
# - Keras: `v = momentum * v - learning_rate * g`, then `w = w + v`.
#
# While the learning rate is constant, both make the same steps. When it
# changes, PyTorch's step changes at once, because the learning rate is outside
# of `v`. Keras's `v` still holds gradients that were multiplied by the old
# learning rate. Below, the gradient is always 1, and the learning rate falls
# from 0.1 to 0.01 at step 30. DavidNet was tuned with PyTorch's momentum, which
# is `PyTorchSGD` here.


# %% alt="The steps of both optimizers around a fall of the learning rate"
def walk(optimizer, gradient, steps, start=0.0):
    """The values of one weight, before and after each step."""
    weight = keras.Variable([start])
    values = [start]
    for _ in range(steps):
        optimizer.apply([np.array([gradient], "float32")], [weight])
        values.append(float(weight[0]))
    return np.array(values)


fall = PiecewiseLinear([29, 30], [0.1, 0.01])
plt.figure()
for optimizer, style in (
    (PyTorchSGD(fall, momentum=0.9), "-"),
    (keras.optimizers.SGD(fall, momentum=0.9), "--"),
):
    moved = -np.diff(walk(optimizer, 1.0, 60))
    plt.plot(moved, style, label=type(optimizer).__name__)
plt.xlabel("step")
plt.ylabel("size of the step")
plt.legend()
plt.show()

# %% [markdown]
# ## Training and inference
#
# Two kinds of layers behave differently in training and in inference. The
# argument `training=` tells them which it is:
#
# - Dropout sets a random part of its inputs to 0 in training. In inference it
#   does nothing.
# - Batch normalization uses the mean and the variance of the batch in training,
#   and keeps moving averages of them. In inference it uses these averages, so
#   the output for one image does not depend on the rest of the batch.

# %%
block = ConvBN(8, dropout=0.2)
first, second = normalized[:50], normalized[50:100]
with_others = np.concatenate([first[:1], second])  # one image, other batch


def gap(x, y):
    return float(np.abs(np.array(x) - np.array(y)).max())


for training in (True, False):
    twice = gap(
        block(first, training=training), block(first, training=training)
    )
    print(f"training={training}: the same batch twice differs by {twice:.2f}")

block = ConvBN(8, dropout=0)  # only batch normalization differs now
for training in (True, False):
    alone = block(first, training=training)[0]
    other = gap(alone, block(with_others, training=training)[0])
    print(f"training={training}: in another batch it differs by {other:.2f}")

# %% [markdown]
# ## Weight decay: coupled and decoupled
#
# Weight decay pulls every weight `w` towards 0. Coupled weight decay adds
# `decay * w` to the gradient, so it passes through the velocity, and momentum
# 0.9 amplifies it about ten times. Decoupled weight decay subtracts
# `learning_rate * decay * w` from the weight and leaves gradient and velocity
# alone. Below, the loss has no gradient, so only the weight decay moves the
# weight.
#
# `PyTorchSGD(weight_decay=)` is the coupled kind, which DavidNet uses. In
# `fit`, use the callback `DecoupledWeightDecay` for the other. It sets
# `optimizer.weight_decay`, as the code below does.


# %% alt="A weight under coupled and decoupled decay over 100 steps"
def sgd(coupled=0.0, decoupled=None):
    optimizer = PyTorchSGD(0.1, momentum=0.9, weight_decay=coupled)
    optimizer.weight_decay = decoupled
    return optimizer


plt.figure()
for label, optimizer, style in (
    ("coupled 0.02", sgd(coupled=0.02), "-"),
    ("decoupled 0.02", sgd(decoupled=0.02), "-"),
    ("decoupled 0.2", sgd(decoupled=0.2), "--"),
):
    plt.plot(walk(optimizer, 0.0, 100, start=1.0), style, label=label)
plt.xlabel("step")
plt.ylabel("weight")
plt.legend()
plt.show()

# %% [markdown]
# ## The training loop by hand
#
# Now the parts come together. `make_dataset` returns shuffled batches, in a new
# order for each epoch. `davidnet_optimizer` is `PyTorchSGD` with Nesterov
# momentum, coupled weight decay and the triangular schedule.
#
# A step computes the loss, takes its gradients from the tape, and lets the
# optimizer change the weights. `tf.function` turns it into a graph. This is how
# the loop is written for TensorFlow, Keras's default backend; JAX and PyTorch
# compute gradients in other ways.

# %%
EPOCHS, BATCH_SIZE = 5, 100
train_ds = datasets.make_dataset(
    x_train, y_train, BATCH_SIZE, training=True, seed=0
)


def new_optimizer():
    return optimizers.davidnet_optimizer(
        len(train_ds), EPOCHS, peak_learning_rate=0.2
    )


model, optimizer = new_davidnet(), new_optimizer()
optimizer.build(model.trainable_variables)


@tf.function
def train_step(images, labels):
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = cross_entropy(labels, logits)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


@tf.function
def predict(images):
    return model(images, training=False)


# %% [markdown]
# A test set may be too large for one batch. Loss and accuracy over all of it
# are sums over the batches, divided by the number of images at the end. A mean
# of the batches' means would give the images of a small last batch too much
# weight.


# %%
def test():
    loss = correct = 0
    for start in range(0, len(x_test), 300):
        images = x_test[start : start + 300]
        labels = y_test[start : start + 300]
        logits = predict(images)
        loss += float(cross_entropy(labels, logits)) * len(labels)
        correct += int(np.sum(np.argmax(logits, axis=-1) == labels))
    return loss / len(x_test), correct / len(x_test)


def report(epoch, loss, test_loss, accuracy):
    print(
        f"epoch {epoch + 1}: training loss {loss:.4f}, "
        f"test loss {test_loss:.4f}, test accuracy {accuracy:.1%}"
    )


by_hand = []
for epoch in range(EPOCHS):
    train_ds.plan.epoch = epoch  # a new order of the images
    losses = [train_step(images, labels) for images, labels in train_ds]
    by_hand.append((float(np.mean(losses)), *test()))
    report(epoch, *by_hand[-1])

# %% [markdown]
# ## The same with `model.fit`
#
# `compile` and `fit` replace the loop. With the same seed, the model starts
# from the same weights, sees the same images in the same order, and uses the
# same random crops and dropout masks. It reaches the same numbers, up to
# rounding.

# %%
model = new_davidnet()
model.compile(new_optimizer())
history = model.fit(
    train_ds, epochs=EPOCHS, validation_data=(x_test, y_test), verbose=0
).history

by_fit = list(
    zip(
        history["loss"],
        history["val_loss"],
        history["val_accuracy"],
        strict=True,
    )
)
for epoch, values in enumerate(by_fit):
    report(epoch, *values)

# %% alt="Loss and accuracy by epoch, by hand and by fit"
figure, axes = plt.subplots(1, 2, sharex=True)
epochs = np.arange(1, EPOCHS + 1)
for label, curves, style in (("by hand", by_hand, "-"), ("fit", by_fit, "o")):
    loss, test_loss, accuracy = zip(*curves, strict=True)
    axes[0].plot(epochs, loss, style, color="tab:blue")
    axes[0].plot(epochs, test_loss, style, color="tab:orange")
    axes[1].plot(epochs, accuracy, style, color="tab:orange", label=label)
axes[0].set(title="loss", xlabel="epoch")
axes[1].set(title="test accuracy", xlabel="epoch", xticks=epochs)
axes[0].legend(["training", "test"])
axes[1].legend()
plt.show()

# %% [markdown]
# ## Later techniques: whitening
#
# From here on, the notebook explains airbench, whose architecture is the model
# `Airbench`. Its first layer is not trained, apart from its bias. It looks at
# patches of 2x2 pixels, 12 numbers each. Neighbouring pixels are alike, so
# these numbers are correlated. `adapt` computes the layer's filters from the
# images, so that its 12 outputs are not correlated. The layers after it then do
# not have to learn this.

# %% alt="Twelve whitening filters of 2x2 pixels"
recipe = recipes.get("airbench94_muon").replace(
    widths=(16, 32, 32),
    batch_size=BATCH_SIZE,
    epochs=EPOCHS,
    alternating_flip=PHOTOS,
    mean=mean,
    std=std,
)
keras.utils.set_random_seed(0)
net = recipe.model()
net.adapt(x_train)

filters = net.whiten.kernel.numpy()[..., :12]  # the others are negatives
filters = filters.transpose(3, 0, 1, 2).repeat(16, axis=1).repeat(16, axis=2)
largest = np.abs(filters).max((1, 2, 3), keepdims=True)
show({"the filters": 0.5 + filters / largest / 3})

# %% [markdown]
# The filters are sorted by how much the patches vary along them. The last one
# is the brightness of a patch, which varies most. The first ones are patterns
# that are rare in the images. Below are the covariances of the 12 numbers
# before and after.

# %% alt="Covariances before and after whitening"
corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
before = [normalized[:500, i : 31 + i, j : 31 + j] for i, j in corners]
before = np.concatenate(before, axis=-1)
after = np.array(net.whiten(normalized[:500]))[..., :12]
figure, axes = plt.subplots(1, 2)
for axis, title, values in zip(
    axes, ("pixels of a patch", "outputs"), (before, after), strict=True
):
    covariance = np.cov(values.reshape(-1, 12).T)
    image = axis.imshow(covariance, cmap="RdBu", vmin=-1, vmax=1)
    axis.set_title(title, fontsize=9)
figure.colorbar(image, ax=axes)
plt.show()

# %% [markdown]
# ## Identity initialization
#
# A new convolution mixes its inputs at random, and after a few of them much of
# the image is lost. `Dirac` starts a convolution as an identity: its first
# filters copy the input channels. The remaining filters are random, as with
# `PyTorchUniform`. After four such convolutions, the first three channels are
# still exactly the image.

# %% alt="Images after four convolutions, with Dirac and with PyTorchUniform"
outputs = {}
for initializer in (Dirac, PyTorchUniform):
    x = normalized[:8]
    for seed in range(4):
        x = keras.layers.Conv2D(
            24,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer(seed=seed),
        )(x)
    outputs[initializer.__name__] = np.array(x)[..., :3]
show({name: visible(x / x.std()) for name, x in outputs.items()})
print("Dirac differs from the images by", gap(outputs["Dirac"], normalized[:8]))

# %% [markdown]
# ## Muon
#
# The gradient of a convolution kernel can be reshaped to a matrix with one row
# per filter. The singular values of this matrix say how far a step of gradient
# descent moves the kernel in each direction. Plain gradient descent moves far
# along directions with large singular values and hardly at all along the
# others. Muon first brings all singular values close to 1. It does so with a
# few matrix products, called Newton-Schulz iterations; airbench uses three.

# %% alt="Singular values of a gradient and of Muon's steps"
kernel = net.group2.conv1.kernel
with tf.GradientTape() as tape:
    loss = cross_entropy(y_train[:100], net(x_train[:100], training=True))
gradient = tape.gradient(loss, kernel.value)


def singular_values(array):
    """Singular values of a kernel or its gradient, the largest first."""
    array = keras.ops.convert_to_numpy(array)
    matrix = array.reshape(-1, array.shape[-1])
    return np.linalg.svd(matrix, compute_uv=False)


plt.figure()
values = singular_values(gradient)
plt.semilogy(values / values[0], label="gradient, the largest as 1")
for ns_steps in (1, 2, 3):
    weight = keras.Variable(np.zeros(gradient.shape))
    muon = Muon(1.0, momentum=0, ns_steps=ns_steps)
    muon.apply([gradient], [weight])
    label = f"Muon's step, iterations: {ns_steps}"
    plt.semilogy(singular_values(weight), label=label)
plt.xlabel("direction")
plt.ylabel("singular value")
plt.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Alternating flip
#
# A random flip may show an image in the same direction in two epochs in a row.
# The alternating flip is random only in the first epoch; from each epoch to the
# next, it mirrors every image. Two epochs then show every image in both
# directions.

# %% alt="Eight images in two epochs, mirrored in one of them"
plan = datasets.EpochPlan(
    len(x_train), BATCH_SIZE, seed=0, alternating_flip=True
)
epochs = [plan.flipped(epoch) for epoch in (0, 1)]
show(
    {
        f"epoch {epoch}": [
            image[:, ::-1] if flipped else image
            for image, flipped in zip(x_train[:8], flips, strict=False)
        ]
        for epoch, flips in enumerate(epochs)
    }
)
rng = np.random.default_rng(0)
independent = rng.integers(0, 2, (2, len(x_train)))
for name, (one, two) in (("alternating", epochs), ("random", independent)):
    print(f"{name:11} {np.mean(one != two):.0%} seen in both directions")

# %% [markdown]
# ## All of it together
#
# A recipe holds the model, the optimizer, the batch size and the number of
# epochs of a published run. This one is airbench with Muon, with fewer filters
# and the few images of this notebook. Its learning rates decrease linearly from
# the first step to the last.

# %%
net = recipe.fit(
    x_train, y_train, validation_data=(x_test, y_test), seed=0, verbose=0
)
for name, values in (
    ("DavidNet", history["val_accuracy"]),
    ("Airbench", net.history.history["val_accuracy"]),
):
    print(f"{name}: test accuracy", *(f"{value:6.1%}" for value in values))

# %% [markdown]
# ## Test-time augmentation
#
# A model returns slightly different logits for an image and its mirror image.
# Their mean is often better than either. The argument `views` says what
# inference averages: `"mirror"` averages these two views, `"mirror_translate"`
# six: both, and both moved by one pixel in two directions. Inference then takes
# two or six times as long. Training does not change.
#
# Mirroring suits photographs. The mirror image of a digit is usually not the
# same digit, so on digits it can lower the accuracy.

# %%
for count, views in ((1, None), (2, "mirror"), (6, "mirror_translate")):
    net.views = views
    loss, accuracy = net.evaluate(x_test, y_test, verbose=0)
    print(f"{count} views: accuracy {accuracy:.1%}, loss {loss:.3f}")

# %% [markdown]
# ## To 94%
#
# The models above were narrow and saw few images. With the published width, all
# 50,000 images and the recipe's epochs, the same code reaches 94% on CIFAR-10:
#
# ```python
# (x_train, y_train), (x_test, y_test) = datasets.load_cifar10()
# recipe = recipes.get("airbench94_muon")
# model = recipe.fit(x_train, y_train, validation_data=(x_test, y_test))
# ```
#
# The list below shows the results measured with this package.

# %%
for name in recipes.names():
    for result in recipes.get(name).measured:
        runs = "1 run" if result.runs == 1 else f"mean of {result.runs} runs"
        print(
            f"{name:16} {result.accuracy:.2%} on {result.dataset}, {runs}, "
            f"{result.hardware}"
        )
