"""Training of a GPT for real, spread over processes as a `ParallelConfig` says.

``torchrun --nproc_per_node=8 -m labkit.llm_parallel.runtime.train --job job.json`` runs on CPUs
(gloo) and GPUs (nccl). Each way to share the work has a module of its own.
"""
