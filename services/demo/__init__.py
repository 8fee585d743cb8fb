"""The demo service: enables and disables an owner's demo mode, and returns its data."""
