"""What a trained model is worth: metrics, inference over a split, figures, report and tables."""
