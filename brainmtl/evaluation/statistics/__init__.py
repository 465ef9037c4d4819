"""How sure a figure is: intervals over patients, and paired tests of two models on the same cases."""
