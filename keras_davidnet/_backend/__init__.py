"""What differs by backend: functions of the same names, chosen once.

`stock` does with Keras alone what each backend's module may replace.
"""

import keras

from keras_davidnet._backend.stock import *  # noqa: F403

if keras.backend.backend() == "tensorflow":
    from keras_davidnet._backend.tensorflow import *  # noqa: F403
elif keras.backend.backend() == "torch":
    from keras_davidnet._backend.torch import *  # noqa: F403
else:
    from keras_davidnet._backend.jax import *  # noqa: F403
