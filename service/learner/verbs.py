"""From an order to what is to be committed."""

from __future__ import annotations

from service.errors import Refused
from service.history.replay import LoadState
from service.history.verbs import Freeze, Order, Promote, Thaw
from service.kernels.kernel import Kernel
from service.learner.taken import Taken
from service.state import State


def check(order: Order, state: State) -> None:
    """Raises Refused where a verb makes no sense now."""
    frozen = state.frozen
    if isinstance(order.verb, Freeze if frozen else Thaw):
        raise Refused(
            f"{order.model}: expected a model that is {'not frozen' if frozen else 'frozen'}, "
            f"found that it is {'frozen' if frozen else 'learning'} already"
        )


def take(
    kernel: Kernel, before: State, order: Order, received_at: float, load: LoadState
) -> tuple[State, Taken]:
    """The state after a verb, and its event.

    Raises
    ------
    Refused
        It makes no sense now.
    StorageError
        A snapshot that it speaks of cannot be read.
    """
    verb = order.verb
    check(order, before)
    replacement = None
    if isinstance(verb, Promote):
        # Read whole, before its event: a champion that is damaged would be no champion.
        load(order.model, verb.version)
    if verb.effects.replaces:
        assert verb.named is not None
        replacement = load(order.model, verb.named)
    after, _ = kernel.apply(before, verb.event(replacement))
    answer = {
        "model": order.model,
        "verb": order.kind,
        "seq": after.seq,
        "snapshot": verb.named,
        "frozen": after.frozen,
        "step_size": after.step_size,
        "reason": order.reason,
        "actor": order.actor,
    }
    return after, Taken(answer, order.to_record(after.seq, received_at), outcome=order.kind)
