"""Features: every layer of a model over a dataset, computed in resumable batches and kept in a FeatureStore.

It may import data, models, storage and the configuration.
It gives extraction, whole or in shards, and stores that are read, verified and merged.
"""
