"""Agents that plan on a map known beforehand, and the scorers that say where on it the goal is."""
