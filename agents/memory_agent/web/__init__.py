"""The tutor as a web page: the conversation, and beside it all that it knows of you.

>>> from memory_agent.web import serve
>>> serve("sqlite:///agent_memory.db")

The page is made with NiceGUI. What else was looked at: Chainlit has a chat but no place for a
panel that one edits, and keeps a database of its own; Gradio calls home and takes its fonts from
elsewhere; a page by hand would be our own JavaScript to keep. NiceGUI serves every part of itself
(no network is needed), is written in Python like the tutor, runs on the same event loop, and sends
text as text.
"""

from memory_agent.web.server import DEFAULT_PORT as DEFAULT_PORT
from memory_agent.web.server import serve as serve
