"""Sessions: tokens, renewal, revocation."""
