"""CIFAR-100: pictures of 32 x 32 pixels in 100 classes. The hub calls its picture ``img``, the class ``fine_label``."""

from __future__ import annotations

from fedtap.data.sources.hub.pictures import HubPictures

_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar
cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose
sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR100 = HubPictures(
    "cifar100",
    title="CIFAR-100 (Krizhevsky, 2009), fine labels",
    licence="unstated by its authors; published for research",
    hub="uoft-cs/cifar100",
    splits={"train": "train", "test": "test"},
    classes=tuple(_CLASSES.split()),
    image="img",
    label="fine_label",
)
