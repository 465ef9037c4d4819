"""Cross-validation: find the folds, evaluate each, merge what they predicted into one evaluation."""
