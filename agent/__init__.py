"""A model-based agent for image observations: planning with a sequential VAE."""

from agent.agent import Agent
from agent.pixels import pixels
from agent.settings import AgentConfig

__all__ = ["Agent", "AgentConfig", "pixels"]
