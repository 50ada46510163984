"""The words of the project, the one episode loop, run folders, metrics and statistics.

Read in this order: `types` (task, seeds, condition, record, the agent protocol), `loop`
(`run_episodes`; with `work`, `slots`, `lanes`, `actions`), `records` and `runs` (what is on disk;
with `files`, `manifests`), `metrics` and `metrics_paths`, `statistics`, `comparison`, `tables`.
`testing` holds the checks that any world and any agent must pass (in `conformance*`), `fakes` a
world and an agent in plain numpy that pass them.
"""
