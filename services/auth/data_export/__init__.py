"""Exports of a user's data from every service as a ZIP archive, each made by a job. README.md describes it."""
