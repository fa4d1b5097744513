"""Hydra plugin: the sweeper of `python train.py -m`."""
