"""What users are notified of: settings, and emails about long jobs that ended while their owner was away."""
