"""Deletion of accounts: a grace period, then a job that erases everything of a user in every service."""
