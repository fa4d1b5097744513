"""Sentences about a query, made without a generator, and the search that puts them into passages."""
