"""Agents for vision-and-language navigation on graphs: the floors and the ceiling of its tables."""
