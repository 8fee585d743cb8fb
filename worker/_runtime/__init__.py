"""The worker process: claims, heartbeats, attempts."""
