"""How many jobs end, and how long they wait and run: recorded each minute, read for operators."""
