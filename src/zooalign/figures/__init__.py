"""Figures of the results: one file each, found by name; every one is written as SVG and PNG.

They may import results, metrics and the root, and nothing of each other but files that start with an underscore.
Each gives VERSION and `draw(findings, dataset, path)`.
"""
