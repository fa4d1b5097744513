"""Runs: data, models, training and evaluation of one dense retriever."""
