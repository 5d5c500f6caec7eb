"""A model-based agent for image observations: planning with a sequential VAE."""

from agent.agent import Agent, AgentConfig

__all__ = ["Agent", "AgentConfig"]
