"""Which learns sooner, and which controls better: the agent or model-free baselines?"""
