"""Many runs of one recipe: what a failed run leaves behind, and what all of them show."""
