"""From an order to what is to be committed."""

from __future__ import annotations

from service.errors import Refused
from service.history.alarms import Alarms
from service.history.verbs import Acknowledge, Freeze, Order, Quarantine, Release, Thaw
from service.kernels.kernel import Kernel
from service.learner.requests import Prepared
from service.learner.taken import Taken
from service.state import State


def check(order: Order, state: State, alarms: Alarms) -> None:
    """Raises Refused where a verb makes no sense now."""
    frozen = state.frozen
    if isinstance(order.verb, Freeze if frozen else Thaw):
        raise Refused(
            f"{order.model}: expected a model that is {'not frozen' if frozen else 'frozen'}, "
            f"found that it is {'frozen' if frozen else 'learning'} already"
        )

    match order.verb:
        case Quarantine(line=line) if line in state.quarantined:
            raise Refused(
                f"{order.model}: expected a line that is not in quarantine, found {line!r}"
            )
        case Release(line=line) if line not in state.quarantined:
            held = ", ".join(map(repr, state.quarantined)) or "none"
            raise Refused(f"{order.model}: expected a line in quarantine ({held}), found {line!r}")
        case Acknowledge(alarms=seen):
            known = [alarm.id for alarm in alarms.opened()]
            strange = [number for number in seen if number not in known]
            if strange:
                held = ", ".join(map(str, known)) or "none"
                raise Refused(
                    f"{order.model}: expected open alarms ({held}), found "
                    f"{', '.join(map(str, strange))}"
                )


def take(kernel: Kernel, before: State, work: Prepared, received_at: float) -> tuple[State, Taken]:
    """The state after a verb that passed `check`, and its event."""
    order, verb = work.order, work.order.verb
    after, _ = kernel.apply(before, verb.event(work.replacement))
    answer = {
        "model": order.model,
        "verb": order.kind,
        "seq": after.seq,
        "snapshot": verb.named,
        "frozen": after.frozen,
        "quarantined": list(after.quarantined),
        "step_size": after.step_size,
        "reason": order.reason,
        "actor": order.actor,
    }
    return after, Taken(answer, order.to_record(after.seq, received_at), outcome=order.kind)
