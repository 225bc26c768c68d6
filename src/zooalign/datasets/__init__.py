"""Datasets: one file or folder for each family, found by name.

They may import data and storage, and nothing of each other.
Each gives VERSION, KIND, Options and `build(options, folder, report)`, which makes a folder named by the dataset.
"""
