"""Claims: which ready jobs a worker gets, and how a ClaimJobs call waits for them."""
