"""The API for handlers and submitters, exported by `worker/__init__.py`."""
