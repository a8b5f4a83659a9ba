"""What the log's bytes mean: lessons, verbs, remembered batches, replay."""
