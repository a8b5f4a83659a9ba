"""What the learner makes of a single pass over labelled streams, beside named peers."""
