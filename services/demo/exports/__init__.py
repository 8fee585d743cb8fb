"""Exports of an owner's interactions as a CSV file, each made by a job. README.md describes it."""
