"""Shared plumbing of every process. Knows users and the service that signs for them (`identity`), no other service."""

from __future__ import annotations

import gc

# Imports create hundreds of thousands of objects that stay. Collections at Python's thresholds look at them again and again, and
# take a seventh of a process's start. `process.freeze_modules` sets the thresholds of a process that serves.
gc.set_threshold(100_000, 20, 20)
