"""The customer's old architecture doing the same work: one FastAPI application with SQLAlchemy, and Celery on Redis.

It has no fences, leases, events or live status. `enable.py` compares the price of an enable with its job.
"""
