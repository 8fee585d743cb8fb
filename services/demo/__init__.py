"""The demo service: turns an owner's demo mode on and off, and answers what is in it."""
