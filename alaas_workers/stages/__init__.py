"""The work of each stage on one chunk: small classes that a worker process makes once and calls for each chunk."""
