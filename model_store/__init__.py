"""Durable bytes: the event log, snapshots, aliases and the audit trail.

Knows nothing of learning or HTTP; takes and gives bytes. Readers of a store on a directory need
the standard library only; ``obstore`` is imported when a location starts with ``s3://``.

A snapshot store, in a directory or under a prefix of a bucket, is laid out like this::

    format.json                                     {"format": 1}
    lock | claim.json                               the write side: flock on a directory, a
                                                    compare-and-swapped object in a bucket
    models/<model>/snapshots/<version:08d>/         model.onnx, state.safetensors, …, manifest.json
    models/<model>/aliases/<name>.json              version, generation, seq, pinned
    models/<model>/audit/<n:08d>.json               one hash-chained entry each
    models/<model>/keep/<version:08d>.json          retention spares this version
    models/<model>/quarantine/<version:08d>[-k]/    a damaged snapshot, as it was found
    models/<model>/quarantine/<version:08d>[-k].json    when it was put there, and why
    models/<model>/tombstones/<version:08d>.json    this version was deleted; its number is used up

Every JSON file except ``format.json`` is sealed (model_store/sealed.py): it carries a digest of
itself and has exactly one spelling, so that a change of any byte is found.
"""
