"""
D-RISE: the head, its random occlusions, the weights of outputs, and the estimators of its maps.

Its paper and its config keys call an occlusion a mask. In this code a mask is what Mask R-CNN
predicts, or what a data set has of an object.
"""
