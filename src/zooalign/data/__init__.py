"""Data: how samples are checked, rendered, written and read, whatever family they come from.

It may import storage and the manifest; families are found by name.
It gives `Samples`, `build_dataset`, and what families share: records, captions, rendering, attribution,
writing, choices of samples, repositories and packages that are downloaded.
"""
