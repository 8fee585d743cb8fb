"""Replicas added, restarted and killed one at a time under a steady load: `python -m bench.scaling`."""
