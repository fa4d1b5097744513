"""Kernels made for one processor: oneDNN's shapes, bfloat16 on a CPU, masks that cost little there."""
