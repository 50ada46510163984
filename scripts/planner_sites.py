"""What is what inside the learned planners, so that `pilotage.steering` can read and edit them."""

from __future__ import annotations

from dataclasses import replace

from pilotage.steering import ModelMap

TDB_NET = ModelMap(
    layers="blocks",
    attention_out="attention_out",
    up="ffn_in",
    down="ffn_out",
    final_norm="final_norm",
)
PATH_NET = replace(TDB_NET, unembedding="head")
# What reads the prompt and what is seen of a path; the decoder asks its last layer.
MAZE_NET = replace(TDB_NET, layers="encoder", final_norm="encoder_norm", unembedding="tokens")
