"""Draws the curves of a run; shared by the examples."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def save_curves(history: dict, path) -> None:
    """Loss, accuracy and rate by epoch, from `History.history`, as a PNG."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    for axis, name in zip(
        axes, ("loss", "accuracy", "learning_rate"), strict=True
    ):
        axis.plot(epochs, history[name], marker="o", label="training")
        if f"val_{name}" in history:
            axis.plot(
                epochs, history[f"val_{name}"], marker="o", label="held out"
            )
            axis.legend()
        axis.set_title(name.replace("_", " "))
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
