"""Creates what services need at start: roles, schemas, tables, streams. Safe to repeat."""
