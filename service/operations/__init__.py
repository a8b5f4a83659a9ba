"""What ops ask, which changes nothing, and what they do beside the verbs."""
