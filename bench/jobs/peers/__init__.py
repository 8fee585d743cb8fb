"""The peers: for each a list of packages, locked, and a script; each runs in a virtual environment of its own.

Ours is in the same table; why these and no others is said in docs/dependencies.md.
"""
