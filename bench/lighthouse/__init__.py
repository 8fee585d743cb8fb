"""Lighthouse audits of every page of the web app: `python -m bench.lighthouse`."""
