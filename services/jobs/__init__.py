"""The jobs service: stores, schedules and hands out jobs, and records their progress and outcome."""
