"""A model-based agent for image observations: a sequential VAE, and planning in it."""

from agent.agent import Agent, AgentConfig

__all__ = ["Agent", "AgentConfig"]
