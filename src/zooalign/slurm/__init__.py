"""SLURM: what its commands say, parsed in one place.

It may import errors.
It gives partitions and nodes, whether they can run what jobs ask for, and SLURM's account of ended jobs.
"""
