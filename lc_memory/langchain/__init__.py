"""LangChain's and LangGraph's own interfaces, thin over the waist."""
