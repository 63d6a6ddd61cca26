"""Miniatures of what label tools export, by their published schemas: `a` has a box at BOX, `b` was
looked at where the tool can say so, `c` is there without a word of it."""

import json

import numpy as np

SIZE = 24
BOX = [6, 8, 15, 12]  # x1, y1, x2, y2
X1, Y1, X2, Y2 = BOX


def cvat_xml():
    box = (
        f'<box label="mass" source="manual" occluded="0" xtl="{X1}.00" ytl="{Y1}.00" '
        f'xbr="{X2}.00" ybr="{Y2}.00" z_order="0"></box>'
    )
    images = [
        f'<image id="0" name="a.png" width="{SIZE}" height="{SIZE}">{box}</image>',
        f'<image id="1" name="b.png" width="{SIZE}" height="{SIZE}">'
        '<tag label="nothing there" source="manual"></tag></image>',
        f'<image id="2" name="c.png" width="{SIZE}" height="{SIZE}"></image>',
    ]
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta>'
        "<job><id>7</id><size>3</size><mode>annotation</mode></job></meta>"
        f"{''.join(images)}</annotations>"
    )


def labelme_json(name, shapes):
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": SIZE,
        "imageWidth": SIZE,
    }


def labelme_shape(kind="rectangle", points=((X1, Y1), (X2, Y2)), label="mass"):
    return {
        "label": label,
        "points": [list(map(float, point)) for point in points],
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


def percent(value):
    return value * 100 / SIZE


def label_studio_region(kind="rectanglelabels", value=None, label="mass", number="r1"):
    box = {
        "x": percent(X1),
        "y": percent(Y1),
        "width": percent(X2 - X1),
        "height": percent(Y2 - Y1),
        "rotation": 0,
    }
    return {
        "original_width": SIZE,
        "original_height": SIZE,
        "image_rotation": 0,
        "value": {**(box if value is None else value), kind: [label]},
        "id": number,
        "from_name": "label",
        "to_name": "image",
        "type": kind,
        "origin": "manual",
    }


def label_studio_annotation(regions, who=1, **facts):
    return {
        "id": who * 100,
        "completed_by": who,
        "result": regions,
        "was_cancelled": False,
        "ground_truth": False,
        **facts,
    }


def label_studio_task(number, name, annotations, predictions=()):
    return {
        "id": number,
        "annotations": annotations,
        "file_upload": f"{number:08x}-{name}",
        "drafts": [],
        "predictions": list(predictions),
        "data": {"image": f"/data/upload/4/{number:08x}-{name}"},
        "meta": {},
    }


def label_studio_tasks():
    found, nothing = label_studio_annotation([label_studio_region()]), label_studio_annotation([])
    return [
        label_studio_task(1, "a.png", [found]),
        label_studio_task(2, "b.png", [nothing]),
        label_studio_task(3, "c.png", [], [{"result": [label_studio_region()], "score": 0.9}]),
    ]


def via_shape(kind="rect"):
    xs, ys = [X1, X2, X2, X1], [Y1, Y1, Y2, Y2]
    return {
        "rect": {"name": "rect", "x": X1, "y": Y1, "width": X2 - X1, "height": Y2 - Y1},
        "polygon": {"name": "polygon", "all_points_x": xs, "all_points_y": ys},
        "circle": {"name": "circle", "cx": 10, "cy": 11, "r": 4},
        "ellipse": {"name": "ellipse", "cx": 10, "cy": 11, "rx": 4, "ry": 2, "theta": 0},
        "point": {"name": "point", "cx": 10, "cy": 11},
    }[kind]


def via_entries(kind="rect"):
    region = {"shape_attributes": via_shape(kind), "region_attributes": {"finding": "mass"}}
    regions = {"a": [region], "b": [], "c": []}
    marks = {"a": {}, "b": {"quality": "nothing there"}, "c": {}}
    return {
        f"{name}.png99": {
            "filename": f"{name}.png",
            "size": 99,
            "regions": regions[name],
            "file_attributes": marks[name],
        }
        for name in "abc"
    }


def via_project(kind="rect"):
    return {
        "_via_settings": {"ui": {}, "core": {}, "project": {"name": "p"}},
        "_via_img_metadata": via_entries(kind),
        "_via_attributes": {"region": {}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": [f"{name}.png99" for name in "abc"],
    }


def via_3_project(shape=(2, X1, Y1, X2 - X1, Y2 - Y1)):
    """Of VIA 3: a view an image, an entry of `metadata` a region; `c` is a film."""
    numbers = {"1": "a.png", "2": "b.png", "3": "c.mp4"}
    views = {key: {"fid_list": [key]} for key in numbers}
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "pname": "p", "vid_list": list(numbers)},
        "config": {"file": {"loc_prefix": {"1": "", "2": ""}}},
        "attribute": {
            "1": {"aname": "finding", "anchor_id": "FILE1_Z0_XY1", "options": {"0": "mass"}},
            "2": {"aname": "quality", "anchor_id": "FILE1_Z0_XY0", "options": {"0": "normal"}},
        },
        "file": {
            key: {"fid": key, "fname": name, "type": 4 if key == "3" else 2, "loc": 1, "src": name}
            for key, name in numbers.items()
        },
        "metadata": {
            "1_x": {"vid": "1", "flg": 0, "z": [], "xy": list(shape), "av": {"1": "0"}},
            "2_y": {"vid": "2", "flg": 0, "z": [], "xy": [], "av": {"2": "0"}},
            "3_z": {"vid": "3", "flg": 0, "z": [0.1, 2.0], "xy": [], "av": {"1": "0"}},
        },
        "view": views,
    }


def createml_json():
    box = {"x": (X1 + X2) / 2, "y": (Y1 + Y2) / 2, "width": X2 - X1, "height": Y2 - Y1}
    return [
        {"image": "c.png", "annotations": []},
        {"image": "a.png", "annotations": [{"label": "mass", "coordinates": box}]},
    ]


def supervisely_json(objects, tags=()):
    return {
        "description": "",
        "tags": [{"name": name, "value": None} for name in tags],
        "size": {"height": SIZE, "width": SIZE},
        "objects": objects,
    }


def supervisely_figure(kind="rectangle", points=((X1, Y1), (X2 - 1, Y2 - 1)), **more):
    exterior = [list(map(int, point)) for point in points]
    return {
        "classTitle": "mass",
        "geometryType": kind,
        "labelerLogin": "somebody",
        "tags": [],
        "points": {"exterior": exterior, "interior": []},
        **more,
    }


def qupath_feature(coordinates=None, kind="annotation", shape="Polygon"):
    ring = [[X1, Y1], [X2, Y1], [X2, Y2], [X1, Y2], [X1, Y1]]
    return {
        "type": "Feature",
        "id": "7d3f",
        "geometry": {"type": shape, "coordinates": coordinates or [ring]},
        "properties": {
            "objectType": kind,
            "classification": {"name": "mass", "color": [200, 0, 0]},
            "isLocked": False,
        },
    }


def brush_stroke(mask, runs=True):
    """A mask as Label Studio packs it: a run of one value, or of values each of its own."""
    values = np.repeat(mask.astype(np.uint8).ravel() * 255, 4)
    bits = f"{len(values):032b}{7:05b}{2:04b}{7:04b}{10:04b}{15:04b}"
    at = 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at] and runs:
            end += 1
        end = min(max(end, at + 1), at + 2**11) if runs else min(len(values), at + 8)
        bits += f"{int(runs)}"
        bits += f"{2:02b}{end - at - 1:011b}" if runs else f"{0:02b}{end - at - 1:03b}"
        bits += f"{values[at]:08b}" if runs else "".join(f"{v:08b}" for v in values[at:end])
        at = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
