"""What differs by backend: functions of the same names, chosen once.

A backend's module replaces functions of `stock`, which only needs Keras.
"""

import keras

from keras_davidnet._backend.stock import *  # noqa: F403

if keras.backend.backend() == "tensorflow":
    from keras_davidnet._backend.tensorflow import *  # noqa: F403
elif keras.backend.backend() == "torch":
    from keras_davidnet._backend.torch import *  # noqa: F403
else:
    from keras_davidnet._backend.jax import *  # noqa: F403
