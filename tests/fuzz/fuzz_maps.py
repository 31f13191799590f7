"""Teachers' maps, texts, labels, masks, stores and networks' weights, through the teachers and segmenters."""

import json
from pathlib import Path
from random import Random

import numpy as np
import torch
from fuzz_datasets import HEIGHT, NAMES, WIDTH, make_scene
from fuzz_net import Format, expect
from PIL import Image

from gsdff.config.options import FeatureConfig, TeacherConfig
from gsdff.config.smoothing import GraphConfig, MaskConfig
from gsdff.evaluation.ovs.labels import find_views, read_3d_ovs, read_lerf_ovs
from gsdff.labels import find_truth
from gsdff.masks import sam
from gsdff.masks.precomputed import PrecomputedSegmenter
from gsdff.masks.store import make_masks
from gsdff.smoothing.graph import NeighbourGraph
from gsdff.teachers import Teacher
from gsdff.teachers.labelled import LabelsTeacher
from gsdff.teachers.lseg import read_entries
from gsdff.teachers.precomputed import PrecomputedTeacher
from gsdff.teachers.store import open_store
from gsdff.teachers.toy import ToyTeacher

STEMS = tuple(name[:2] for name in NAMES)
WORDS = ("chair", "lamp", "wall")


def check_teacher(teacher: Teacher, folder: Path) -> None:
    """Maps of unit vectors, or zeros, of one number of channels; texts of as many."""
    scene = make_scene(folder)
    for view in scene.views:
        teacher.check(view)
        teacher.fingerprint_of(view)
    channels = set()
    for features in teacher.extract(scene.views):
        expect(features.dtype == torch.float32 and features.ndim == 3, f"a map of {features.dtype}")
        expect(not features.requires_grad, "a map that is trained")
        norms = features.norm(dim=0)
        expect(bool((norms < 1.001).all()), "a map of vectors that are longer than 1, or not finite")
        channels.add(len(features))
    if teacher.knows("chair"):
        vectors = teacher.text(["chair"])
        expect(bool(vectors.isfinite().all()), "text vectors that are not finite")
        channels.add(vectors.shape[1])
    expect(len(channels) == 1, f"maps and texts of {channels} channels")


def write_maps(folder: Path) -> None:
    """A map of every kind, and the texts."""
    (folder / "maps").mkdir()
    generator = np.random.default_rng(0)
    for i, stem in enumerate(STEMS):
        features = generator.normal(size=(5, 4, 4)).astype("f4")
        if i % 2:
            np.save(folder / "maps" / f"{stem}.npy", features)
        else:
            torch.save(torch.from_numpy(features).half(), folder / "maps" / f"{stem}_fmap_CxHxW.pt")
    np.savez(
        folder / "maps" / "text_features.npz", names=np.array(WORDS), vectors=generator.normal(size=(3, 5)).astype("f4")
    )


def read_maps(folder: Path, random: Random) -> None:
    check_teacher(PrecomputedTeacher(TeacherConfig("precomputed", folder / "maps")), folder)


def write_store(folder: Path) -> None:
    """Maps, and the store that was made of them."""
    write_maps(folder)
    torch.save({name: tensor for name, tensor in zip(STEMS, _open_store(folder), strict=True)}, folder / "expected.pt")


def _open_store(folder: Path) -> list[torch.Tensor]:
    teacher, scene = PrecomputedTeacher(TeacherConfig("precomputed", folder / "maps")), make_scene(folder)
    store = open_store(teacher, scene.views, folder / "store", FeatureConfig(3))
    return [store.load(view) for view in scene.views]


def read_store(folder: Path, random: Random) -> None:
    """The store is what it was, or is made again: the same maps to the bit."""
    expected = torch.load(folder / "expected.pt", weights_only=True)
    for stem, features in zip(STEMS, _open_store(folder), strict=True):
        expect(torch.equal(features, expected[stem]), "a store with other maps than those it was made of")


# --- labels


def write_labels(folder: Path) -> None:
    (folder / "labels").mkdir()
    (folder / "instances").mkdir()
    rows = [{"id": i, "name": name, "text_query": name, "color": [10 * i, 0, 0]} for i, name in enumerate(WORDS)]
    (folder / "labels" / "classes.json").write_text(json.dumps({"classes": rows}))
    for i, stem in enumerate(STEMS):
        ids = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 40 + i) % 3
        Image.fromarray(ids.astype(np.uint8)).save(folder / "labels" / f"{stem}.png")
        Image.fromarray(ids.astype(np.uint16) * 300).save(folder / "instances" / f"{stem}.png")
    vectors = np.random.default_rng(1).normal(size=(3, 5)).astype("f4")
    np.savez(folder / "labels" / "text_features.npz", names=np.array(WORDS), vectors=vectors)


def read_labels(folder: Path, random: Random) -> None:
    """Both teachers that are made of label images, and the ground truth of a score."""
    scene = make_scene(folder)
    truth = find_truth(scene, None, lambda name: True)
    if truth is not None:
        for view in scene.views:
            labels = truth.load(view)
            expect(labels is None or labels.shape == (HEIGHT, WIDTH), "labels of another size")
            expect(
                labels is None or bool(((labels < len(truth.competing)) | (labels == 255)).all()), "labels of no class"
            )
    kind = random.choice((LabelsTeacher, ToyTeacher))
    check_teacher(kind(TeacherConfig("labels" if kind is LabelsTeacher else "toy"), scene), folder)


def write_lerf(folder: Path) -> None:
    (folder / "lerf").mkdir()
    for name in NAMES[:2]:
        polygon = [[2, 1], [9, 1], [9, 7], [2, 7]]
        objects = [{"category": word, "group": 1, "segmentation": polygon, "bbox": [2, 1, 9, 7]} for word in WORDS[:2]]
        info = {"name": name, "width": WIDTH, "height": HEIGHT, "depth": 3, "note": ""}
        (folder / "lerf" / f"{name[:2]}.json").write_text(json.dumps({"info": info, "objects": objects}))


def read_lerf(folder: Path, random: Random) -> None:
    scene = make_scene(folder)
    frames = read_lerf_ovs(folder / "lerf")
    for frame, _ in zip(frames, find_views(frames, scene), strict=True):
        masks, boxes = frame.masks(WIDTH, HEIGHT), frame.scaled_boxes(WIDTH, HEIGHT)
        expect(set(masks) == set(boxes), "masks and boxes of other words")
        for mask in masks.values():
            expect(mask.shape == (HEIGHT, WIDTH) and mask.dtype == torch.bool, "a mask of another size")


def write_3d_ovs(folder: Path) -> None:
    (folder / "segmentations" / "00").mkdir(parents=True)
    (folder / "segmentations" / "classes.txt").write_text("\n".join(WORDS) + "\n")
    for i, word in enumerate(WORDS):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[i::3] = 255
        Image.fromarray(mask).save(folder / "segmentations" / "00" / f"{word}.png")


def read_3d_ovs_labels(folder: Path, random: Random) -> None:
    frames = read_3d_ovs(folder)
    find_views(frames, make_scene(folder))
    for frame in frames:
        for mask in frame.masks(WIDTH, HEIGHT).values():
            expect(mask.shape == (HEIGHT, WIDTH), "a mask of another size")


# --- masks


def write_masks(folder: Path) -> None:
    """Masks in all three layouts."""
    masks = folder / "masks"
    (masks / STEMS[2]).mkdir(parents=True)
    ids = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) // 30
    Image.fromarray(ids.astype(np.uint16)).save(masks / f"{STEMS[0]}.png")
    Image.fromarray(ids.astype(np.uint8)).save(masks / f"{STEMS[3]}.png")
    size = [HEIGHT, WIDTH]
    records = [
        {"segmentation": {"size": size, "counts": [30, 60, HEIGHT * WIDTH - 90]}, "predicted_iou": 0.9, "area": 60},
        {"segmentation": {"size": [4, 6], "counts": "0181J0003"}, "predicted_iou": 0.8, "area": 7},
    ]
    (masks / f"{STEMS[1]}.json").write_text(json.dumps({"image": {"image_id": 1}, "annotations": records}))
    (masks / STEMS[2] / "metadata.csv").write_text(
        "id,area,predicted_iou,stability_score\n0,60,0.9,0.95\n1,40,0.8,0.9\n"
    )
    for i in range(2):
        Image.fromarray((ids == 2 + i).astype(np.uint8) * 255).save(masks / STEMS[2] / f"{i}.png")


def read_masks(folder: Path, random: Random) -> None:
    segmenter = PrecomputedSegmenter(MaskConfig(folder=folder / "masks", min_area=1))
    scene = make_scene(folder)
    for view in scene.views:
        segmenter.check(view)
    store = make_masks(segmenter, scene.views, folder / "made")
    for view in scene.views:
        labels = store.load(view)
        expect(
            labels.shape == (HEIGHT, WIDTH) and int(labels.min()) >= 0 and int(labels.max()) <= 65535,
            "a mask of another size or range",
        )


def write_mask_store(folder: Path) -> None:
    write_masks(folder)
    torch.save(_made_masks(folder), folder / "expected.pt")


def _made_masks(folder: Path) -> list[torch.Tensor]:
    scene = make_scene(folder)
    store = make_masks(
        PrecomputedSegmenter(MaskConfig(folder=folder / "masks", min_area=1)), scene.views, folder / "made"
    )
    return [store.load(view) for view in scene.views]


def read_mask_store(folder: Path, random: Random) -> None:
    """A map that was changed is made again."""
    for made, expected in zip(_made_masks(folder), torch.load(folder / "expected.pt", weights_only=True), strict=True):
        expect(torch.equal(made, expected), "a store with other segments than those of its masks")


# --- weights


SHAPES = {"scratch.weight": torch.Size((2, 3)), "scratch.bias": torch.Size((2,))}


def write_weights(folder: Path) -> None:
    torch.save(
        {"state_dict": {f"net.{name}": torch.ones(shape) for name, shape in SHAPES.items()}, "epoch": 1},
        folder / "lseg.ckpt",
    )
    torch.save({"image_encoder.pos_embed": torch.ones(1, 2, 2, 3)}, folder / "sam.pth")


def read_weights(folder: Path, random: Random) -> None:
    for tensor in read_entries(folder / "lseg.ckpt", SHAPES).values():
        expect(tensor.numel() > 0, "weights without values")
    expect(
        all(isinstance(entry, torch.Tensor) for entry in sam.read_state(folder / "sam.pth").values()),
        "weights that are none",
    )


def write_graph(folder: Path) -> None:
    ids = torch.arange(12).reshape(4, 3).int() % 4
    torch.save(
        {"ids": ids, "weights": torch.full((4, 3), 0.2), "self_weights": torch.full((4,), 0.4)}, folder / "graph.pt"
    )


def read_graph(folder: Path, random: Random) -> None:
    """The graph that a resumed run takes from its folder."""
    from fuzz_splats import make_gaussians

    from gsdff.training.graph_file import build_or_load_graph

    graph: NeighbourGraph = build_or_load_graph(folder / "graph.pt", GraphConfig(), make_gaussians(4), None)
    expect(graph.ids.shape == graph.weights.shape and len(graph.ids) == 4, "a graph of other Gaussians")
    expect(int(graph.ids.min()) >= 0 and int(graph.ids.max()) < 4, "neighbours that do not exist")
    expect(bool(graph.weights.isfinite().all() and graph.self_weights.isfinite().all()), "weights that are not finite")


FORMATS = (
    Format("maps", "gsdff/teachers", write_maps, read_maps, ("maps/*.pt", "maps/*.npy"), 3),
    Format("texts", "gsdff/teachers", write_maps, read_maps, ("maps/*.npz",), 1.5),
    Format("store", "gsdff/teachers", write_store, read_store, ("store/**/*",), 1.5),
    Format("labels", "gsdff/labels", write_labels, read_labels, ("labels/*", "instances/*"), 2),
    Format("lerf-ovs", "gsdff/evaluation", write_lerf, read_lerf, ("lerf/*",), 1.5),
    Format(
        "3d-ovs",
        "gsdff/evaluation",
        write_3d_ovs,
        read_3d_ovs_labels,
        ("segmentations/classes.txt", "segmentations/00/*"),
        1,
    ),
    Format("masks", "gsdff/masks", write_masks, read_masks, ("masks/*.*", "masks/v2/*"), 2),
    Format("mask-store", "gsdff/masks", write_mask_store, read_mask_store, ("made/*.png",), 1),
    Format("weights", "gsdff/teachers", write_weights, read_weights, ("lseg.ckpt", "sam.pth"), 1),
    Format("graph", "gsdff/training", write_graph, read_graph, ("graph.pt",), 1),
)
