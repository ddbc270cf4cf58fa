"""What is measured: one file for each thing, one function for each subject."""
