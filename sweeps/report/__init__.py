"""The report: one self-contained HTML page, figures as SVG, PDF and PNG, tables as CSV, fits as JSON."""
