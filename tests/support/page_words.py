"""What a page of HTML says."""

import html
import re


def words_of(reply):
    """The text of a page's content without what marks it up, on one line.

    Args:
        reply: with the page as `text`.
    """
    content = reply.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", content)).split())
