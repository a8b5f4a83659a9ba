"""Latency and throughput of the servers, beside named peers, in one run."""
