"""The style of figures: names beside curves, and the size at which a README shows them."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from robot_room.app.figures import name_curves, styled_figure

README_WIDTH = 830  # pixels


def test_a_figure_is_written_and_its_text_is_legible_in_a_readme(tmp_path):
    path = tmp_path / "new" / "figure.png"
    before = dict(plt.rcParams)
    with styled_figure(path, 1, 2) as (figure, axes):
        axes[0].plot([1, 2], [3, 4])
        axes[0].set_xlabel("steps")
        smallest = min(label.get_fontsize() for label in axes[0].get_xticklabels())
        shown = README_WIDTH / figure.get_figwidth()  # pixels per inch
        assert smallest / 72 * shown >= 11  # pixels
    assert dict(plt.rcParams) == before and not plt.get_fignums()
    with Image.open(path) as picture:
        assert picture.width >= 2 * README_WIDTH * 0.95  # sharp on dense screens


def test_each_curve_is_named_at_its_end_and_names_do_not_touch(tmp_path):
    with styled_figure(tmp_path / "figure.png") as (figure, axis):
        x = np.array([1.0, 10.0, 100.0])
        for number, name in enumerate(("low", "mid", "also mid", "high")):
            axis.plot(x, x * 0 + (0.1, 0.5, 0.5001, 0.9)[number], label=name)
        axis.plot(x, x / 100)  # without a name
        axis.set_xscale("log")
        name_curves(axis)
        figure.canvas.draw()
        boxes = {text.get_text(): text.get_window_extent() for text in axis.texts}
        assert boxes.keys() == {"low", "mid", "also mid", "high"}
        ordered = sorted(boxes.values(), key=lambda box: box.y0)
        assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(ordered))
        for line in axis.get_lines()[:4]:
            (text,) = [text for text in axis.texts if text.get_text() == line.get_label()]
            assert text.get_color() == line.get_color()
            end = axis.transData.transform((100.0, line.get_ydata()[-1]))[1]
            middle = (boxes[line.get_label()].y0 + boxes[line.get_label()].y1) / 2
            assert abs(middle - end) < 25
        assert min(box.x0 for box in boxes.values()) > axis.get_window_extent().x1
