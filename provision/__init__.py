"""Makes what a fresh environment needs before services start: roles, schemas, tables, streams. Safe to repeat."""
