"""Agents for vision-and-language navigation on graphs: the floors and the ceiling of its tables,
and text-only policies that are trained (`pilotage train vln`), linear or a small transformer."""
