"""Corpus poisoning: queries that the attacker sees, their clusters, and passages that HotFlip makes."""
