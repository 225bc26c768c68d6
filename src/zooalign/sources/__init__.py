"""Sources: one file for each kind of place that models come from, found by file name.

They may import models and storage, and nothing of each other but files that start with an underscore.
Each gives VERSION, Options, `weight_file`, `load` and, where weights are converted once, `prepare`.
"""
