"""The admin's tool: `python -m services.jobs admin …` sees and steers the job engine over gRPC."""
