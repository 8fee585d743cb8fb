"""The admin command line: `python -m services.jobs admin …` shows and controls the job engine over gRPC."""
