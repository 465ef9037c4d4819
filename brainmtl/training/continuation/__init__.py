"""Where a run goes on from: checkpoints, resume, repeated runs, stages that are there already."""
