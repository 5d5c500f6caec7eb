"""Which planner finds the better plan, and at what price?"""
