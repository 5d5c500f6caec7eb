"""What does the world model owe to which part of it, and how fast does it learn?"""
