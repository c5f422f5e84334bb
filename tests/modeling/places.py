"""Toys whose objects are where they are, whatever the image: IntegratedGradients asks for that."""

from d2_saliency.modeling.meta_arch import generic


def know_places(monkeypatch):
    """
    Generic models follow a detection in another image by its class, of which there is one object.
    """
    monkeypatch.setattr(generic.SaliencyGenericMixin, "knows_provenance", True)
    monkeypatch.setattr(generic, "match_repeated", _by_class)


def _by_class(before, now):
    return (before.pred_classes[:, None] == now.pred_classes).nonzero(as_tuple=True)
