"""What a larger system needs: processes, processors, memory, connections, WAL and disk, from the measured cost of each thing.

`python -m bench.sizing --users 1000000 --jobs-per-second 10000 --streams 1000000` prints it; nothing is measured.
"""
