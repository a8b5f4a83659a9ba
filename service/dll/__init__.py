"""Dendritic Localized Learning (Lv et al., ICML 2025, arXiv 2501.09976) as a pure function.

    apply(state, event) -> (state, reply)

``network`` holds synapses and forward pass, ``rule`` local errors and feedback rules, ``gain``,
``optimiser`` and ``standardise`` their parts of a step, ``member`` the step of one network,
``mixture`` and ``rehearsal`` what an ensemble adds, ``learn`` the function itself; the values
that go in and come out are `service.state`'s. Nothing here does I/O, reads a clock, starts a thread
or keeps anything between two calls but what a configuration implies.
"""

from service.dll.learn import apply, diagnose, forward, nothing
from service.dll.network import initial

__all__ = ["apply", "diagnose", "forward", "initial", "nothing"]
