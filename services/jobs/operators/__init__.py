"""What operators see and control: kinds, limits, pauses, workers and stuck jobs."""
