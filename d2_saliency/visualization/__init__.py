"""Saliency maps for people: pictures, panels and the HTML report."""

from d2_saliency.visualization.html_report import write_report
from d2_saliency.visualization.notebook import PanelFigure, show
from d2_saliency.visualization.panel import draw_panel, save_panels
from d2_saliency.visualization.saliency_visualizer import SaliencyVisualizer

__all__ = ["PanelFigure", "SaliencyVisualizer", "draw_panel", "save_panels", "show", "write_report"]
