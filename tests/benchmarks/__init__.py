"""What a sweep costs: ours, the peers', and the least that any exact method could pay. `make bench` prints the tables.

CPU seconds of one process on one thread; medians of at least three; peers may be extrapolated from a sample of their
cells and are marked ~. Nothing here asserts a time: the tests of the engine are elsewhere.
"""
