"""The command line: `zooalign status`, `plan`, `score`, `submit` and `store`.

It may import everything, and nothing imports it.
It gives `main.main`, which is installed as `zooalign`.
"""
