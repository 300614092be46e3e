"Networks for pictures and films: torchvision, timm, transformers"

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch import nn

from .cases import Case, Entry, numbers, stirred

CLASSES = 10


def picture_case(model: nn.Module, side: int, target: object = 3) -> Case:
    stirred(model, numbers(8, 3, side, side, seed=1))
    return Case(model, (numbers(2, 3, side, side),), target)


# torchvision

SIDES = {  # the smallest that works, where it isn't 32; where the last maps are single pixels, statistics of a few
    # random pictures make scores of ten thousand, which rounding changes by a hundredth: those have larger ones, as
    # some of timm
    "alexnet": 64,
    "efficientnet": 64,
    "squeezenet": 48,
    "inception_v3": 75,
    "googlenet": 48,
    "vit_h_14": 28,
    "swin": 64,
}


def torchvision_classifier(name: str) -> Case:
    from torchvision import models

    side = next((s for start, s in SIDES.items() if name.startswith(start)), 32)
    given = dict(num_classes=CLASSES)
    if name.startswith("vit"):
        given["image_size"] = side
    if name in ("googlenet", "inception_v3"):
        given |= dict(aux_logits=False, init_weights=False)
    if name == "maxvit_t":  # its constructor fixes windows of 7, which ask for 224 pixels
        return picture_case(
            models.maxvit.MaxVit((64, 64), 64, 2, [64, 128, 256, 512], [2, 2, 5, 2], 32, 0.2, num_classes=CLASSES), 64
        )
    target = 2 if name.startswith("squeezenet") else 3  # it ends in a ReLU, and class 3 is off
    return picture_case(models.get_model(name, weights=None, **given), side, target)


def torchvision_segmentation(name: str) -> Case:
    from torchvision import models

    model = models.get_model(name, weights=None, weights_backbone=None, num_classes=5)
    return picture_case(model, 64, (2, 30, 20))


class Detections(nn.Module):
    "The scores of what a detector finds, added up, one number per picture"

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x):
        return torch.stack([found["scores"].sum() for found in self.model(list(x))])


def torchvision_detection(name: str) -> Case:
    from torchvision import models

    given = dict(detections_per_img=5) if name.startswith(("ssd", "retina", "fcos")) else dict(box_detections_per_img=5)
    score = {"ssd": "score_thresh", "ret": "score_thresh", "fco": "score_thresh"}.get(name[:3], "box_score_thresh")
    size = {} if name.startswith("ssd") else dict(min_size=64, max_size=64)
    model = models.get_model(name, weights=None, weights_backbone=None, num_classes=4, **given, **size, **{score: 0.0})
    return Case(stirred(Detections(model)), (numbers(2, 3, 64, 64).sigmoid(),), None)


def torchvision_film(name: str) -> Case:
    from torchvision import models

    given = dict(num_classes=CLASSES)
    shape = (3, 4, 32, 32)
    build = models.video.mvit._mvit  # the size of its films is fixed by mvit_v1_b and mvit_v2_s
    small = dict(spatial_size=(32, 32), temporal_size=4)
    with mock.patch.object(models.video.mvit, "_mvit", lambda **said: build(**said | small)):
        model = models.get_model(name, weights=None, **given)
    stirred(model, numbers(4, *shape, seed=1))
    return Case(model, (numbers(2, *shape),), 3)


# timm


def timm_classifier(name: str, side: int, img_size: bool) -> Case:
    import timm

    given = dict(img_size=side) if img_size else {}
    return picture_case(timm.create_model(name, pretrained=False, num_classes=CLASSES, **given), side)


def timm_list() -> dict[str, tuple[int, bool, float]]:
    """Names of networks, one or two a family, with the smallest side, whether it is given to the constructor, and the
    millions of their parameters
    """
    return json.loads((Path(__file__).parent / "timm.json").read_text())


# transformers

IMAGES = {
    "vit": dict(image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
    "deit": dict(image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
    "vit_msn": dict(image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
    "beit": dict(image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
    "data2vec-vision": dict(image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
    "dinov2": dict(image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
    "dinov2_with_registers": dict(
        image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2
    ),
    "ijepa": dict(image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
    "hiera": dict(
        image_size=[64, 64],
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 2, 2],
        num_query_pool=2,
        masked_unit_size=[4, 4],
    ),
    "swin": dict(image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4),
    "swinv2": dict(image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4),
    "donut-swin": dict(image_size=32, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4),
    "convnext": dict(hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 2, 1]),
    "convnextv2": dict(hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 2, 1]),
    "resnet": dict(embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 2, 1]),
    "regnet": dict(embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 2, 1], groups_width=8),
    "bit": dict(embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 2, 1], num_groups=4),
    "mobilenet_v1": dict(depth_multiplier=0.25, min_depth=8),
    "mobilenet_v2": dict(depth_multiplier=0.25, min_depth=8),
    "mobilevit": dict(hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32], image_size=32),
    "mobilevitv2": dict(width_multiplier=0.25, image_size=64),
    "efficientnet": dict(image_size=32, width_coefficient=0.25, depth_coefficient=0.5, hidden_dim=320),
    "segformer": dict(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]),
    "pvt": dict(image_size=32, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]),
    "pvt_v2": dict(image_size=32, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2]),
    "poolformer": dict(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1]),
    "levit": dict(
        image_size=64, hidden_sizes=[16, 16, 16], num_attention_heads=[2, 2, 2], depths=[1, 1, 1], key_dim=[8, 8, 8]
    ),
    "cvt": dict(embed_dim=[8, 16, 16], num_heads=[1, 2, 2], depth=[1, 2, 3]),
    "focalnet": dict(image_size=32, embed_dim=8, depths=[1, 1, 1, 1], focal_levels=[1, 1, 1, 1]),
    "swiftformer": dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1]),
    "hgnet_v2": dict(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 32],
        stem_channels=[3, 4, 8],
        stage_in_channels=[8, 8, 16, 16],
        stage_mid_channels=[4, 4, 8, 8],
        stage_out_channels=[8, 16, 16, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[2, 2, 2, 2],
    ),
    "textnet": dict(stem_out_channels=8, hidden_sizes=[8, 8, 16, 16, 32]),
}
SIDE = {"swin": 32, "swinv2": 32, "donut-swin": 32, "vit": 16, "deit": 16, "vit_msn": 16, "beit": 16, "ijepa": 16}
SIDE |= {
    "data2vec-vision": 16,
    "dinov2": 16,
    "dinov2_with_registers": 16,
    "levit": 64,
    "cvt": 64,
    "hiera": 64,
    "mobilevitv2": 64,
}


def hugging_face_picture(kind: str) -> Case:
    import transformers

    config = transformers.AutoConfig.for_model(kind, num_labels=5, **IMAGES[kind])
    if hasattr(config, "initializer_range"):
        config.initializer_range = 0.2
    single = dict(deit=transformers.DeiTForImageClassification, levit=transformers.LevitForImageClassification)
    model = single[kind](config) if kind in single else transformers.AutoModelForImageClassification.from_config(config)
    return picture_case(model, SIDE.get(kind, 32))


def hugging_face_segmentation(kind: str) -> Case:
    import transformers

    config = transformers.AutoConfig.for_model(kind, num_labels=4, **IMAGES[kind])
    config.initializer_range = 0.2
    model = transformers.AutoModelForSemanticSegmentation.from_config(config)
    return picture_case(model, 64, (2, 1, 1))


def hugging_face_clip() -> Case:
    "How well each of three texts fits a picture"
    import transformers

    from attrnb.core import ClassScore, keywords, shared

    small = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    config = transformers.CLIPConfig(
        text_config=dict(**small, vocab_size=64, max_position_embeddings=16),
        vision_config=dict(**small, image_size=16, patch_size=4),
        projection_dim=8,
    )
    score = ClassScore(stirred(transformers.CLIPModel(config)), output="logits_per_image", input_names="pixel_values")
    texts = torch.arange(3 * 6).reshape(3, 6)
    return Case(score, (numbers(2, 3, 16, 16),), 1, keywords(input_ids=shared(texts)))


def hugging_face_film(kind: str) -> Case:
    import transformers

    small = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_labels=4)
    size = dict(
        timesformer=dict(patch_size=8), videomae=dict(tubelet_size=2, patch_size=8), vivit=dict(tubelet_size=[2, 8, 8])
    )
    config = transformers.AutoConfig.for_model(kind, image_size=16, num_frames=4, **size[kind], **small)
    model = transformers.AutoModelForVideoClassification.from_config(config)
    return Case(stirred(model), (numbers(2, 4, 3, 16, 16),), 1)


def family_of(name: str) -> str:
    "The first word of a network's name"
    word = name.split("_")[0].split(".")[0]
    return word.rstrip("0123456789") or word


def entries() -> Iterator[Entry]:
    from torchvision import models

    kinds: list[tuple[str, Callable, list[str]]] = [
        ("", torchvision_classifier, models.list_models(models)),
        ("segmentation", torchvision_segmentation, models.list_models(models.segmentation)),
        (
            "detection",
            torchvision_detection,
            [
                "fasterrcnn_mobilenet_v3_large_320_fpn",
                "fcos_resnet50_fpn",
                "retinanet_resnet50_fpn",
                "ssdlite320_mobilenet_v3_large",
            ],
        ),
        ("films", torchvision_film, [n for n in models.list_models(models.video) if n != "s3d"]),
    ]
    for family, build, names in kinds:
        for name in names:
            size = models.get_model_weights(name).DEFAULT.meta["num_params"] / 1e6
            yield Entry(f"torchvision/{name}", "torchvision", family or family_of(name), partial(build, name), size)
    for name, (side, img_size, size) in timm_list().items():
        yield Entry(f"timm/{name}", "timm", family_of(name), partial(timm_classifier, name, side, img_size), size)
    for kind in IMAGES:
        yield Entry(f"transformers/{kind}", "transformers", "pictures", partial(hugging_face_picture, kind))
    for kind in ("segformer", "mobilenet_v2", "mobilevit", "mobilevitv2"):
        yield Entry(
            f"transformers/{kind}-segmentation",
            "transformers",
            "segmentation",
            partial(hugging_face_segmentation, kind),
        )
    for kind in ("timesformer", "videomae", "vivit"):
        yield Entry(f"transformers/{kind}", "transformers", "films", partial(hugging_face_film, kind))
    yield Entry("transformers/clip", "transformers", "pictures", hugging_face_clip)
