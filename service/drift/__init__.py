"""Drift: did the inputs move, did the concept, did the predictions? Pure, numpy alone."""

from service.drift.alarm import Alarm, Statistic
from service.drift.columns import Columns
from service.drift.monitor import Monitor
from service.drift.reference import Reference
from service.drift.series import ReferenceTooShortError

__all__ = ["Alarm", "Columns", "Monitor", "Reference", "ReferenceTooShortError", "Statistic"]
