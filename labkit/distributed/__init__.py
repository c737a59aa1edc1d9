"""Programs of several processes: started, watched and ended; their links timed and modeled.

`launch` runs a module on this machine under torchrun, `slurm` the same command on a cluster,
`collectives` times what the processes say to each other, and `links` turns such times into a
latency and a bandwidth. Importing this package imports neither torch nor any of them.
"""
