"""From what lines speak to a learner: one file, one configuration each."""
