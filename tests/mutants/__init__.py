"""Takes guards out of the program, one at a time, and checks that a test fails for each."""
