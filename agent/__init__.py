"""A model-based agent for image observations: sequential VAE, cross-entropy method, observation prior."""

from agent.agent import Agent, AgentConfig

__all__ = ["Agent", "AgentConfig"]
