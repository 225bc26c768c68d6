"""Datasets: one file or folder for each family, found by name.

They may import data and storage, and nothing of each other.
Each gives VERSION, KIND, Options and `build(options, folder, report)`, which makes a folder named by the dataset.

Where a row leaves out the option `cache`, it is the folder `.cache` beside the dataset; where it leaves out
`revision`, the commit of the first build, which a family of the hub writes into `revision.json`.
"""
