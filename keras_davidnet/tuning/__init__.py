"""A search over a recipe with KerasTuner.

Needs the extra `tuner`, so `import keras_davidnet` does not import it.
"""

from keras_davidnet.tuning.hypermodel import (
    DavidNetHyperModel as DavidNetHyperModel,
    RecipeHyperModel as RecipeHyperModel,
)
