"""Storage: how artefacts are written, whole or not at all, by one process at a time.

It may import errors, progress and provenance.
It gives the atomic write, the lease, the checkpoint journal, node-local scratch, and patience with file servers.
"""
