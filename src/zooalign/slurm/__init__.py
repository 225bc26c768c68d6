"""SLURM: what its commands say, parsed in one place.

It may import errors.
It gives partitions and nodes (`sinfo.py`), whether they can run what jobs ask for (`preflight.py`), whether the
profile suits the cluster (`profile.py`), the user's jobs in the queue (`squeue.py`), and what ended ones took
(`sacct.py`).
"""
