"""The workflow: what each rule is applied to, what it makes, needs and costs, what is due, and how jobs report.

It may import everything but the command line and submission; the library never imports it.
It gives `Work`, the rules, the plan, the status, and what the Snakefile and its scripts ask.
"""
