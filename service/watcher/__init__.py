"""The thread that feeds `service.drift` beside the work."""

from service.watcher.watched import Seen, Watched
from service.watcher.watcher import Watcher, losses

__all__ = ["Seen", "Watched", "Watcher", "losses"]
