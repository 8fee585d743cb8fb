"""The peers: a locked list of packages and an application each, in separate virtual environments."""
