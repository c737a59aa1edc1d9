"""Where the runs of a sweep are executed: on this machine, by Slurm, or by a Dask cluster.

All three run the same chunk of runs in the same way (`local.run_all`); they differ only in which
process does it.
"""
