"""The figures that refconv returns: matplotlib's, unknown to pyplot, and shown by notebooks.

The only module that imports matplotlib as it is imported: others import it when they draw.
"""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure that a notebook shows although nobody has imported pyplot, which else tells notebooks how."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()
