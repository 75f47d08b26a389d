"""What nets that begin with a whitening have in common."""

from keras_davidnet.layers import WhiteningConv2D
from keras_davidnet.models.image_classifier import ImageClassifier


class Whitened(ImageClassifier):
    """A net whose first layer, `whiten`, is adapted to images."""

    whiten: WhiteningConv2D

    num_adapt_images = 5000

    def adapt(self, images) -> None:
        """Computes the whitening's filters.

        Args:
            images: Raw training images, `(n, height, width, channels)`; the
                first `num_adapt_images` of them are used.

        Raises:
            ValueError: If they are not such images, or too few, or constant.
        """
        images = self.checked_images("images", images[: self.num_adapt_images])
        self.whiten.adapt(self.normalization(images))

    def make_train_function(self, force=False):
        # Before the first step, whoever takes it.
        if not self.whiten.adapted:
            raise ValueError(
                "The net's whitening has no filters yet: call "
                "`model.adapt(images)` with training images before training. "
                f"Received: {self.whiten.name}.adapted=False"
            )
        return super().make_train_function(force)
