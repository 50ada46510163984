"""Published vision-language-action checkpoints, read from disk as they are released.

`openvla:` is OpenVLA (arXiv:2406.09246), `pi0fast:` is pi0-FAST (arXiv:2501.09747), `smolvla:` is
SmolVLA (arXiv:2506.01844). Weights are safetensors; nothing pickled is opened, no remote code runs.
"""
