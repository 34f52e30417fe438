"""The report: one HTML file that needs nothing else, and what stands in it."""
