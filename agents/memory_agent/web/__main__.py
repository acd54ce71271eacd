"""``python -m memory_agent.web``: the chatbot over the memory that the environment names."""

import os
import sys

from lc_memory.errors import LCMemoryError
from memory_agent.web.server import DEFAULT_PORT, serve

try:
    serve(
        port=int(os.environ.get("PORT") or DEFAULT_PORT),
        ready=lambda page: print(f"The tutor is at {page} (Ctrl-C ends it)", flush=True),
    )
except LCMemoryError as error:
    sys.exit(str(error))
