"""The gateway's event streams next to those of its peers."""
