"""Figures of the report: each module draws one kind and returns panels (``style.Panel``)."""
