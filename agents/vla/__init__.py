"""Vision-language-action agents: a vision tower, a connector, and a transformers Llama that acts.

The shape follows OpenVLA (Kim et al. 2024, arXiv:2406.09246): 256 action bins are the last ids of
the vocabulary, decoding is greedy, one token per action dimension.
"""
