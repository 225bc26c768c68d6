"""Submission outside the workflow: extraction, shards, rows and scores as jobs of submitit.

It may import everything but the command line.
It gives `submission.submit`, the tasks that can be submitted, and how their ends are noticed.
"""
