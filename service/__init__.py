"""Apical's processes: the learner that learns from a line, and the replicas that follow it."""
