"""Emails: templates, one-time links, the job that sends them, and senders."""
