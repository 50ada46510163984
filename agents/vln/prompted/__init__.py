"""Agents of the graph world that ask a language model what to do next, as the literature does it.

An agent is put together from parts: what it remembers, how it words its prompt, how it reads the
reply, when it may stop, and which back end answers. See `schemes` for the four that have names.
"""
