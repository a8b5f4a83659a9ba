"""Files of a line's past: read as they come, described, and warned about."""
