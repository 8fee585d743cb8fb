"""API tokens: a program's access to the API within scopes, without a session."""
