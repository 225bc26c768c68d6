"""Configuration: what to sweep, checked against a closed schema, and every digest that follows from it.

It may import the root; metrics, sources, families and what checks their options are found by name.
It gives the manifest, `load_sweep`, the settings of jobs, and in `identity` the digest of every artefact.
"""
