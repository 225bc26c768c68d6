"""zooalign: which models see the world alike, and does it grow with capability?"""

__version__ = "0.1.0"
