"""The previous release on the schema of this one: `make previous`."""
