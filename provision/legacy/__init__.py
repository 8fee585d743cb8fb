"""Import of the old system's database: `python -m provision import-legacy`."""
