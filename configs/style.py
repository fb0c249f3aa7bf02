"""Style transfer by a small network: content and Gram losses teach a large one, and its outputs teach one of 1/8 of its operations.

pip install -e ".[images]"
python -m kdgan.main --config=configs/style.py --workdir=runs/style
python -m kdgan.main --mode=apply --workdir=runs/style --player=student --arm=distilled --input=photo.jpg --output=painted.png
python -m kdgan.main --config=configs/style.py:teacher=~/multistyle26.npz,critic=~/squeezenet.npz --workdir=runs/style26

Without `teacher` and `critic` nothing is downloaded: the critic, by whose features content and style are measured, is trained to tell
the photographs that scikit-image ships apart by patches, and the teacher on its features, in two styles. With them the teacher is the
published network of 26 styles, of which the student learns two, and the critic SqueezeNet.
"""

from kdgan import config as common

STYLES = ("skimage:ihc", "skimage:gravel")
LAYERS = {"resnet8": ("stage1", "stage2", "stage3"), "squeezenet": ("fire2", "fire3", "fire5")}


def get_config(arguments=""): ...
