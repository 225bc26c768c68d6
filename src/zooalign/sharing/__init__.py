"""Sharing: neighbour lists, features and scores that leave a sweep without weights, and come into another one.

They may import the results and everything above, and nothing that runs jobs.
Each gives an export and an import; `shared_file` is the file that both read and write, `checks` what is refused.
"""
