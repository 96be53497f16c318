"""The report as one self-contained web page."""

from qmc.html.page import page_text, write_page

__all__ = ["page_text", "write_page"]
