"""`apical.toml`: what a process is told about its models and about itself."""
