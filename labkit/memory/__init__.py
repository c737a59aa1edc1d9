"""Memory that a torch program needs, found without the machine that it needs.

`dryrun` runs the program on tensors that have shapes and no data, as any rank of any number of
processes, and counts what is alive.
"""
