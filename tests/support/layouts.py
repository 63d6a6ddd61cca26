"""Miniatures of the layouts that `prepare` reads, as files on disk."""

import json

import numpy as np
import pytest
from PIL import Image
from support.annotation_files import (
    BOX,
    SIZE,
    createml_json,
    cvat_xml,
    label_studio_tasks,
    labelme_json,
    labelme_shape,
    qupath_feature,
    supervisely_figure,
    supervisely_json,
    via_project,
    write_json,
)


def image(seed=0, rgb=False):
    shape = (SIZE, SIZE, 3) if rgb else (SIZE, SIZE)
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def mask(value=255, box=BOX):
    pixels = np.zeros((SIZE, SIZE), dtype=np.uint8)
    x1, y1, x2, y2 = box
    pixels[y1:y2, x1:x2] = value
    return pixels


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def make_brain_tumor(root):
    for code in "0123":
        save(root / "image" / code / f"{code}1.jpg", image(), quality=95)
        save(root / "mask" / code / f"{code}1_m.jpg", mask(0 if code == "0" else 255), quality=95)


def make_figshare(root):
    h5py = pytest.importorskip("h5py")
    root.mkdir(parents=True)
    for number, label in ((1, 1), (2, 2), (3, 3)):
        folder = root / "brainTumorDataPublic_1-3"
        folder.mkdir(exist_ok=True)
        with h5py.File(folder / f"{number}.mat", "w") as file:
            group = file.create_group("cjdata")
            group["label"] = np.array([[label]], dtype=np.float64)
            group["PID"] = np.array([[ord(letter)] for letter in f"1000{number}"], dtype=np.uint16)
            group["image"] = (image(number).astype(np.int16) * 30).T  # MATLAB stores columns first
            group["tumorMask"] = (mask() > 0).astype(np.uint8).T
    with h5py.File(root / "cvind.mat", "w") as file:
        file["cvind"] = np.array([[5, 1, 2]], dtype=np.float64)


def make_folder(root):
    for name in ("a", "b"):
        save(root / "images" / f"{name}.png", image())
        save(root / "masks" / f"{name}.png", mask())


def make_isic(root):
    for number in range(2):
        save(root / "ISIC_Input" / f"ISIC_000000{number}.jpg", image(number, rgb=True))
        save(root / "ISIC_Input" / f"ISIC_000000{number}_superpixels.png", image(number))
        save(root / "ISIC_GroundTruth" / f"ISIC_000000{number}_segmentation.png", mask())


def make_kvasir(root):
    for name in ("cju0", "cju1"):
        save(root / "images" / f"{name}.jpg", image(rgb=True))
        save(root / "masks" / f"{name}.jpg", np.repeat(mask()[..., None], 3, axis=2), quality=95)
    (root / "kavsir_bboxes.json").write_text(
        json.dumps({"cju0": {"height": SIZE, "width": SIZE, "bbox": []}})
    )


def make_cvc(root):
    for kind in ("PNG", "TIF"):
        for number in (1, 2, 3):
            save(root / kind / "Original" / f"{number}.{kind.lower()}", image(number, rgb=True))
            save(root / kind / "Ground Truth" / f"{number}.{kind.lower()}", mask())
    rows = "frame_id,sequence_id,png_image_path\n1,1,a\n2,1,b\n3,2,c\n"
    (root / "metadata.csv").write_text(rows)


def make_busi(root):
    for class_name in ("benign", "malignant", "normal"):
        save(root / class_name / f"{class_name} (1).png", image(rgb=True))
        save(
            root / class_name / f"{class_name} (1)_mask.png",
            mask(0 if class_name == "normal" else 255),
        )
    save(root / "benign" / "benign (1)_mask_1.png", mask(box=[0, 0, 4, 4]))


def make_lgg(root):
    for patient in ("TCGA_CS_4941_19960909", "TCGA_DU_5849_19950405"):
        for number in (1, 2):
            save(root / patient / f"{patient}_{number}.tif", image(number, rgb=True))
            save(root / patient / f"{patient}_{number}_mask.tif", mask(0 if number == 2 else 255))
    (root / "data.csv").write_text("Patient,death01\n")


def volume(seed=0):
    return np.random.default_rng(seed).integers(0, 900, (SIZE, SIZE, 5)).astype(np.int16)


def make_nifti(root):
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([0.5, 2.0, 3.0, 1.0])  # mm along x, y, z; x to the right, y to the front
    for kind in ("imagesTr", "labelsTr"):
        (root / kind).mkdir(parents=True)
    for number in (1, 2):
        labels = np.zeros((SIZE, SIZE, 5), dtype=np.uint8)
        # Pictures count from the patient's right and front: flip what BOX says.
        labels[SIZE - BOX[2] : SIZE - BOX[0], SIZE - BOX[3] : SIZE - BOX[1], 2] = 1
        nibabel.save(
            nibabel.Nifti1Image(volume(number), affine),
            root / "imagesTr" / f"liver_{number}.nii.gz",
        )
        nibabel.save(
            nibabel.Nifti1Image(labels, affine), root / "labelsTr" / f"liver_{number}.nii.gz"
        )


def write_nrrd(path, voxels, spacing=(0.5, 2.0, 3.0), origin=(0.0, 0.0, 0.0)):
    """`voxels` (Z, Y, X), as ITK has them; its x and y count to the left and to the back."""
    import SimpleITK

    written = SimpleITK.GetImageFromArray(voxels)
    written.SetSpacing(spacing)
    written.SetOrigin(origin)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(written, str(path))


def make_scans(root):
    for number in (1, 2):
        write_nrrd(root / "images" / f"v{number}.nrrd", volume(number).transpose(2, 1, 0))
        labels = np.zeros((5, SIZE, SIZE), dtype=np.uint8)
        labels[2] = mask(1)
        write_nrrd(root / "masks" / f"v{number}.nrrd", labels)


def write_dicom(path, pixels, **tags):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    if pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsAllocated - 1, int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def make_dicom(root):
    for patient in ("p1", "p2"):
        for number in (1, 2):
            pixels = image(number).astype(np.uint16) * 16
            tags = {"PatientID": patient, "PixelSpacing": [0.7, 0.9]}
            write_dicom(root / "images" / f"series-{patient}" / f"im{number}.dcm", pixels, **tags)
            save(root / "masks" / f"series-{patient}" / f"im{number}.png", mask())


def make_coco(root, run_lengths=False):
    for number in (1, 2, 3):
        save(root / "val2017" / f"{number}.jpg", image(number))
    x1, y1, x2, y2 = BOX
    shape = [[x1, y1, (x1 + x2) / 2, y1, x2, y1, x2, y2, x1, y2]]  # four corners would be a box
    if run_lengths:
        flat = (mask().T.ravel() > 0).astype(int)
        changes = np.flatnonzero(np.diff(flat)) + 1
        shape = {
            "size": [SIZE, SIZE],
            "counts": np.diff([0, *changes.tolist(), flat.size]).tolist(),
        }
    record = {
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": shape,
        "iscrowd": int(run_lengths),
    }
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.jpg", "height": SIZE, "width": SIZE} for n in (1, 2, 3)
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, **record},
            {"id": 2, "image_id": 2, "category_id": 9, **record},
        ],
        "categories": [{"id": 7, "name": "polyp"}, {"id": 9, "name": "ulcer"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))


def make_yolo(root):
    x1, y1, x2, y2 = (value / SIZE for value in BOX)
    for split, name in (("train", "a"), ("train", "b"), ("val", "c"), ("train", "d")):
        save(root / "images" / split / f"{name}.jpg", image(ord(name)))
    labels = {
        "train/a": f"1 {(x1 + x2) / 2} {(y1 + y2) / 2} {x2 - x1} {y2 - y1}\n",
        "train/b": "",
        "val/c": f"0 {x1} {y1} {(x1 + x2) / 2} {y1} {x2} {y1} {x2} {y2} {x1} {y2}\n",
    }
    for name, text in labels.items():
        path = root / "labels" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames:\n  0: cyst\n  1: tumour\n"
    )


def make_voc(root):
    x1, y1, x2, y2 = BOX
    corners = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    (root / "Annotations").mkdir(parents=True)
    for name, objects in (
        ("a", f"<object><name>mass</name><bndbox>{corners}</bndbox></object>"),
        ("b", ""),
    ):
        save(root / "JPEGImages" / f"{name}.jpg", image(ord(name)))
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    save(root / "JPEGImages" / "c.jpg", image(3))
    save(root / "SegmentationClass" / "a.png", mask())


def make_boxes_csv(root):
    for name in ("a", "b", "c"):
        save(root / "pictures" / f"{name}.png", image(ord(name)))
    rows = ["image,x1,y1,x2,y2,class", f"a.png,{','.join(map(str, BOX))},mass", "b.png,,,,,"]
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")


def three_images(root):
    for name in "abc":
        save(root / f"{name}.png", image(ord(name)))


def make_cvat(root):
    three_images(root / "images")
    (root / "annotations.xml").write_text(cvat_xml())


def make_labelme(root):
    three_images(root)
    write_json(root / "a.json", labelme_json("a.png", [labelme_shape()]))
    write_json(root / "b.json", labelme_json("b.png", []))


def make_label_studio(root):
    three_images(root)
    write_json(root / "project-4-at-2026-11-20.json", label_studio_tasks())


def make_via(root):
    three_images(root)
    write_json(root / "via_project.json", via_project())


def make_createml(root):
    three_images(root / "train")
    write_json(root / "train" / "_annotations.createml.json", createml_json())


def make_box_lines(root):
    three_images(root / "train")
    box = ",".join(map(str, BOX))
    (root / "train" / "_annotations.txt").write_text(f"c.png\na.png {box},0\n")
    (root / "train" / "_classes.txt").write_text("mass\n")


def make_qupath(root):
    three_images(root)
    write_json(root / "a.geojson", {"type": "FeatureCollection", "features": [qupath_feature()]})
    write_json(root / "c.geojson", {"type": "FeatureCollection", "features": []})


def make_supervisely(root):
    three_images(root / "ds0" / "img")
    tags = {"a": [supervisely_figure()], "b": []}
    for name, figures in tags.items():
        marks = [] if figures else ["nothing there"]
        write_json(root / "ds0" / "ann" / f"{name}.png.json", supervisely_json(figures, marks))


def runs_of(pixels):
    """Kaggle's run lengths of a mask: first pixels counted from 1 down the columns, and lengths."""
    flat = np.concatenate([[0], (pixels > 0).T.ravel().astype(int), [0]])
    edges = np.flatnonzero(np.diff(flat)) + 1
    return " ".join(f"{start} {end - start}" for start, end in edges.reshape(-1, 2))


def make_rle(root):
    three_images(root / "train")
    rows = ["ImageId,EncodedPixels,Label", f"a,{runs_of(mask())},mass", "b,-1,"]
    (root / "train.csv").write_text("\n".join(rows) + "\n")


MAKERS = {
    "brain-tumor": make_brain_tumor,
    "figshare": make_figshare,
    "folder": make_folder,
    "isic": make_isic,
    "kvasir": make_kvasir,
    "cvc-clinicdb": make_cvc,
    "busi": make_busi,
    "lgg": make_lgg,
    "nifti": make_nifti,
    "scans": make_scans,
    "dicom": make_dicom,
    "coco": make_coco,
    "yolo": make_yolo,
    "voc": make_voc,
    "cvat": make_cvat,
    "labelme": make_labelme,
    "labelstudio": make_label_studio,
    "via": make_via,
    "createml": make_createml,
    "boxes-txt": make_box_lines,
    "qupath": make_qupath,
    "supervisely": make_supervisely,
    "rle-csv": make_rle,
    "boxes-csv": make_boxes_csv,
}
