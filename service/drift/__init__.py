"""Drift: did the inputs move, did the concept, did the predictions? Pure, numpy alone."""

from service.drift.alarm import Alarm, Statistic
from service.drift.monitor import Monitor
from service.drift.reference import Reference
from service.drift.series import ReferenceTooShortError

__all__ = ["Alarm", "Monitor", "Reference", "ReferenceTooShortError", "Statistic"]
