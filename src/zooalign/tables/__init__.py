"""Tables of the results: one file each, found by name.

They may import results, alignment, metrics and the root, and nothing of each other.
Each gives VERSION and `table(findings)`, a `results.publishing.Table`, which is written in four forms.
"""
