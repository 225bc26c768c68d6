"""Packaged: sources for formats that exist for one packaged model each, found by file name like the others.

They may import what sources import.
Each gives what a source gives.
"""
