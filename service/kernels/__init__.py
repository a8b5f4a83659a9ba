"""Who runs the learning rule: each kernel computes the same steps over `service.state`'s values."""
