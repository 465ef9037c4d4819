"""Evaluations beside each other: the same cases, paired tests, a table, a plot, a report."""
