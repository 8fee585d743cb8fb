"""The peers: a locked list of packages and a script each, in separate virtual environments.

docs/dependencies.md explains the choice.
"""
