"""A resource whose state a job moves; see README.md beside it."""
