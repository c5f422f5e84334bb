"""Saliency maps for people: pictures, panels and the HTML report."""

from .html_report import write_report
from .notebook import PanelFigure, show
from .panel import draw_panel, save_panels
from .saliency_visualizer import SaliencyVisualizer

__all__ = ["PanelFigure", "SaliencyVisualizer", "draw_panel", "save_panels", "show", "write_report"]
