"""Who makes a request: sessions, their tokens, and the cookies that carry them."""
