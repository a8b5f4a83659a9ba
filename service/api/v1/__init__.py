"""The routes of lines and of ops: names, units, JSON."""
