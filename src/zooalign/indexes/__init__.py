"""Indexes: everything about one model on one dataset that comparing it with any partner needs.

It may import kernels, storage and errors.
It gives prepared layers, neighbour lists, kernel matrices and subspaces, built, stored, read, and seen permuted.
"""
