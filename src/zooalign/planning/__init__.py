"""Planning: what work costs, estimated from the manifest, and what it has cost, from records of finished jobs.

It may import the configuration, the layout and slurm.
It gives seconds, memory and bytes per artefact, and what jobs took, joined with SLURM's own account.
"""
