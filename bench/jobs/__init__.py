"""The job engine next to its peers, on the same machine and the same kind of PostgreSQL: `python -m bench.jobs`."""
