"""What a run's folder says of itself: options, revision, versions, state, figures of every epoch."""
