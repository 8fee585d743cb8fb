"""gRPC between our processes: the server every service runs and the client every caller uses."""
