"""The peers: for each a list of packages, locked, and an application; each runs in a virtual environment of its own."""
