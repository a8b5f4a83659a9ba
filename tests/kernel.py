"""The kernels that a learner has, for proofs that fold its log once more."""

from __future__ import annotations

from service.config.model import Model
from service.kernels.by_state import KernelByState
from service.learner.specification import learning_configuration
from service.state import State

KERNEL = KernelByState()


def born(spec: Model) -> State:
    """What a new learner of a configured model begins with."""
    return KERNEL.initial(learning_configuration(spec))._replace(kernel=spec.kernel)
