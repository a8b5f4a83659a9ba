"""What a process tells Prometheus."""
