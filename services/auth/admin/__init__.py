"""Account administration by admins."""
