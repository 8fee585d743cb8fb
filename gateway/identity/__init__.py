"""Sessions of requests: their validation, and the cookies that carry their tokens."""
