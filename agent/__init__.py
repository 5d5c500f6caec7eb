"""A model-based agent for image observations: planning with a sequential VAE."""

from agent.agent import Agent, AgentConfig
from agent.pixels import pixels

__all__ = ["Agent", "AgentConfig", "pixels"]
