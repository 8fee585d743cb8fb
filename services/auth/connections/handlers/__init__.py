"""The handlers of connections' jobs, one module for each."""
