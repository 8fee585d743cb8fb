"""Sign-in with a password and a second factor, and reauthentication."""
