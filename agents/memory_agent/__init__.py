"""A tutor that remembers: the agent that shows what lc_memory does.

>>> from memory_agent import agent
>>> agent = agent.MemoryAgent(storage_type="database")
"""
