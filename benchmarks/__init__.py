"""What eventbus costs, beside the floor and beside others: `make bench`, or `python -m benchmarks --list`.

payload      the one event that everything here carries
floor        the same work by hand: sqlite3, and plain Python
measuring    sides take turns; medians of both, and of the ratios between them
goals        what must hold, as data
sizes        how much of everything: full, quick, tiny
logs         logs to read from; a large one is built once and kept
peers        one file for each library that we compare with
subjects     one file for each thing that is measured; catalogue: all of them
profiling    where the time of one of our own paths goes
report       the table, the numbers as JSON; plot: the picture
environment  the virtual environment with the peers in it; machine: what it all ran on
"""
