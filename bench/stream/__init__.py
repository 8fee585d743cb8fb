"""The gateway's event streams beside its peers'."""
