"""Data: where examples come from, which are used, in which order, and how they reach the device.

| file | subject |
|---|---|
| `sources` | `load`: a data set by name: "digits", a TFDS name, "folder:/path", "npz:/path", "sklearn:wine", a dotted path |
| `dataset` | `Dataset`, what `load` returns: named fields |
| `fields` | `Field`: what an array holds; which fields are inputs and targets |
| `arrays`, `columns` | `from_arrays`, `from_fields`: data sets of arrays, tables and lists, of whatever library |
| `classes`, `layout` | labels that are classes; which axis of an image has its channels |
| `tfds`, `digits` | a prepared TFDS set; the UCI digits as a TFDS builder |
| `folder`, `npz`, `shipped` | a folder of images, class per sub-folder; files of arrays; tables that scikit-learn ships |
| `folder_pairs`, `photographs` | two folders of images as pairs; photographs that scikit-image ships |
| `union`, `digit_pairs` | several sets in one label space; pairs of UCI digits, a target task made of them |
| `borrowed`, `photo_patches` | images of another set to learn on, without labels; patches of two photographs |
| `slices` | splits as they are written: "train[:80%]" |
| `tree`, `images` | which files of a folder are examples, and what is skipped; one image file, its header and pixels |
| `shaping` | a loaded set with its images scaled and converted, its classes numbered as another's are |
| `errors` | errors that name an argument; images that cannot be read |
| `cache` | where prepared and decoded data are kept for the next run |
| `splits` | `partition`: validation, labelled subset and unlabelled remainder as indices |
| `restricted` | a partition of some classes only, with exemplars of others |
| `views` | the fixed augmented forms of an example: which one a step uses, and the number that it goes by |
| `stream` | `stream`: batches of a set that does not fit in memory |
| `batches` | `indices_of_step`: a step's examples as a function of (seed, stage, step); `gather`, `normalise`, `batches` |
| `augment`, `alike` | random affine maps, crops, flips, cutout, mixup, cutmix on the device; the fields that each changes |
| `windows` | windows of images, of several sizes or degraded, cut first, on the device or on the host |
| `degrade`, `pairs` | noise and resampling by which images are made of clean ones; a set of clean images as pairs |
| `diffaugment` | differentiable augmentation of what a discriminator sees, real and fake |

TFDS, Grain and scikit-learn are imported only by the functions that need them: importing this package stays fast.
"""

from kdgan.data.arrays import from_arrays, from_fields
from kdgan.data.batches import batches
from kdgan.data.dataset import Dataset
from kdgan.data.fields import Field
from kdgan.data.sources import load

__all__ = ["Dataset", "Field", "batches", "from_arrays", "from_fields", "load"]
