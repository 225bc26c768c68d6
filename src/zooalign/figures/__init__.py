"""Figures of the results, one file each; every one is written as SVG and PNG."""
