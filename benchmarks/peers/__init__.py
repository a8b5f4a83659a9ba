"""Named peers, each in an environment of its own, since their needs and ours contradict."""
