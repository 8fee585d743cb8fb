"""What handlers and submitters use; `worker/__init__.py` exports it."""
