"""Bytes under keys: a directory or an S3-compatible bucket."""
