"""MLM-U, a learned maze planner, and its twins: one encoder-decoder, the objective is one flag.

Nolte et al. 2024, "Transformers can navigate mazes with multi-step prediction" (arXiv:2412.05117).
There the objectives were compared across architectures; here parameters, data, their order and the
cost of an update are equal, and only what is hidden of a path differs (`objectives`).

    net = train_mlmu(mazes, MazeNetConfig(5, "mlm-u"), MlmuRecipe(n_updates=2000))
    score(test_mazes, answer(net, test_mazes))
"""

from pilotage.planners.mlmu.answers import (
    Answers,
    MazeScore,
    answer,
    learned_maze_planner,
    score,
)
from pilotage.planners.mlmu.checkpoint import load_net, save_net
from pilotage.planners.mlmu.lines import Mazes, PromptKind, labels, vocabulary
from pilotage.planners.mlmu.model import MazeNet, MazeNetConfig, training_flops
from pilotage.planners.mlmu.objectives import Objective
from pilotage.planners.mlmu.training import MlmuRecipe, Progress, train_mlmu

__all__ = [
    "Answers",
    "MazeNet",
    "MazeNetConfig",
    "MazeScore",
    "Mazes",
    "MlmuRecipe",
    "Objective",
    "Progress",
    "PromptKind",
    "answer",
    "labels",
    "learned_maze_planner",
    "load_net",
    "save_net",
    "score",
    "train_mlmu",
    "training_flops",
    "vocabulary",
]
