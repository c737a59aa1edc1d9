"""How kernels that labkit starts write their messages.

Text with a lone surrogate, such as half of an emoji, has no UTF-8. Jupyter's own packer then
raises in the kernel's output thread: the text is lost, and now and then so is the message behind
it which says that the cell has ended.
"""

from __future__ import annotations

import json
from typing import Any

from jupyter_client.jsonutil import json_default
from jupyter_client.session import json_packer


def pack(message: Any) -> bytes:
    r"""Write a part of a message as JSON, lone surrogates as escapes.

    Examples
    --------
    >>> pack({"text": "\ud83d"})
    b'{"text": "\\ud83d"}'
    >>> pack({"text": "ä"}).decode()
    '{"text": "ä"}'
    """
    try:
        return bytes(json_packer(message))
    except UnicodeEncodeError:
        return json.dumps(message, default=json_default, allow_nan=False).encode("ascii")
