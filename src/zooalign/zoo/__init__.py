"""Zoo: what architectures say of themselves, and rows checked against that or written from it.

It may import sources, models and the manifest. Networks are built on torch's meta device: shapes without memory.
It gives `Facts`, `check_rows` for whole zoo files, and `describe`, which writes the row of a model.
"""
