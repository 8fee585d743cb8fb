"""Platform connections: access to users' accounts elsewhere; see README.md beside it."""
