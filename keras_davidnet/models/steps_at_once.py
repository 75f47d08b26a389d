"""Several training steps in one execution, on JAX."""

import functools
import itertools
from collections.abc import Callable

import jax
from jax import numpy as jnp


def steps_at_once(step: Callable, count: int) -> Callable:
    """A `train_function` that makes up to `count` steps in one execution.

    Keras's own calls the compiled step from a loop in Python.  The numbers are
    the same to within rounding: XLA may order sums otherwise in a loop.

    Args:
        step: Takes the state and a batch, gives the logs and the new state.
        count: Of `steps_per_execution`.
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, batches, made):
        data = jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)

        def one(index, carry):
            _, state = carry
            batch = jax.tree.map(lambda array: array[index], data)
            logs, new = step(state, batch)
            return logs, jax.tree.unflatten(
                jax.tree.structure(state), jax.tree.leaves(new)
            )

        nothing, _ = jax.eval_shape(step, state, batches[0])
        logs = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), nothing)
        return jax.lax.fori_loop(0, made, one, (logs, state))

    def train_function(state, iterator):
        batches = list(itertools.islice(iterator, count))
        if not batches:
            raise StopIteration
        # The last batch of an epoch may be smaller.
        for _, group in itertools.groupby(batches, _shapes):
            group = list(group)
            # Fewer steps are no other program.
            filled = group + group[-1:] * (count - len(group))
            logs, state = run(state, filled, len(group))
        return logs, state

    return train_function


def _shapes(batch):
    return [array.shape for array in jax.tree.leaves(batch)]
