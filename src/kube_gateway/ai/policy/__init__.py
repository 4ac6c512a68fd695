"""What a policy may say, how it is read and checked, and what it is compiled to."""
