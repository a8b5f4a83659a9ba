"""The state of a learner as plain arrays, and what may change it; its bytes are in ``file``.

Nothing here knows who computes: `service.kernels` run the rule over these values. Nothing here does
I/O, reads a clock or starts a thread.
"""

from service.state.configuration import Configuration, plain
from service.state.events import (
    Diagnosis,
    Event,
    Freeze,
    Labelled,
    Noted,
    Replace,
    Reply,
    StepSize,
    Thaw,
    UseKernel,
    ordered,
)
from service.state.moments import Moments, Scale, scale, unseen
from service.state.network import Network
from service.state.state import (
    Member,
    Reservoir,
    State,
    Synapses,
    arrays,
    finite,
    leaves,
    newborn,
    same,
    with_leaves,
)

__all__ = [
    "Configuration",
    "Diagnosis",
    "Event",
    "Freeze",
    "Labelled",
    "Member",
    "Moments",
    "Network",
    "Noted",
    "Replace",
    "Reply",
    "Reservoir",
    "Scale",
    "State",
    "StepSize",
    "Synapses",
    "Thaw",
    "UseKernel",
    "arrays",
    "finite",
    "leaves",
    "newborn",
    "ordered",
    "plain",
    "same",
    "scale",
    "unseen",
    "with_leaves",
]
