"""Schedules: workers register them, and any replica fires them."""
