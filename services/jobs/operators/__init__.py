"""Operations for operators: job lists, bulk changes, kinds, limits, pauses, workers and stuck jobs."""
