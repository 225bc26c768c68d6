"""Results: rows and capability records read back, checked, and put together as tables and figures take them.

It may import storage and the configuration; tables and figures are found by name.
It gives `Findings`, the readers of rows and records, and means over families of models.
"""
