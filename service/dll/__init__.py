"""Dendritic Localized Learning (Lv et al., ICML 2025, arXiv 2501.09976) as a pure function.

    apply(state, event) -> (state, reply)

``network`` holds the synapses and the forward pass, ``rule`` the local errors and updates,
``optimiser`` and ``standardise`` their parts of a step, ``state`` the one value that all of it is,
``learn`` the function itself and ``export`` the way out to ONNX. Nothing here does I/O, reads a
clock, starts a thread or keeps anything between two calls.
"""

from service.dll.events import Event, Freeze, Labelled, Noted, Replace, StepSize, Thaw
from service.dll.learn import Diagnosis, Reply, apply, diagnose, forward
from service.dll.network import Configuration
from service.dll.state import State, from_bytes, initial, same, tensors, to_bytes

__all__ = [
    "Configuration",
    "Diagnosis",
    "Event",
    "Freeze",
    "Labelled",
    "Noted",
    "Replace",
    "Reply",
    "State",
    "StepSize",
    "Thaw",
    "apply",
    "diagnose",
    "forward",
    "from_bytes",
    "initial",
    "same",
    "tensors",
    "to_bytes",
]
