"""Measure which models see the world alike, and whether that grows with capability."""

__version__ = "0.1.0"
