"""Tables of the results: one file each, found by name.

They may import results, alignment and the root, and nothing of each other.
Each gives VERSION, SUFFIXES and `write(findings, path)`, which makes a file of each suffix.
"""
