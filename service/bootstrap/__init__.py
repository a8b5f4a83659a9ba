"""From a configuration to a learner or a replica: the one place that knows all parts.

Commands, tests and benchmarks start from here, and so will another host of the application. Two
files, since a replica's process must not load torch.
"""
