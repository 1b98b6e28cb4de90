"""Findings of CT outside the lungs: head, abdomen, vessels, bones; and how a CT was taken."""

from __future__ import annotations

from functools import partial

from m3search.vocabulary.concepts import Finding

_ct = partial(Finding, on=("ct",))
_head = partial(Finding, on=("ct",), region="head")
_abdomen = partial(Finding, on=("ct",), region="abdomen")

HEMISPHERES = ("on the left", "on the right", "in the left hemisphere", "in the right hemisphere")
KIDNEYS = ("in the left kidney", "in the right kidney", "in both kidneys")
SIZES = ("small", "moderate", "large")

CT = (
    _ct(
        "Normal", ("no abnormality", "healthy", "unremarkable", "normal findings", "normal scan", "no disease"),
        kind="normal", opposite="abnormal CT findings",
    ),
    _ct(
        "Chest CT without contrast",
        ("non-contrast chest CT", "unenhanced CT", "without intravenous contrast", "plain CT of the chest",
         "non-enhanced CT", "native chest CT", "CT without contrast"),
        region="chest", kind="technique", opposite="Contrast-enhanced chest CT",
    ),
    _ct(
        "Contrast-enhanced chest CT",
        ("CT with contrast", "contrast CT", "with intravenous contrast", "CECT of the chest", "enhanced CT",
         "post-contrast chest CT", "CT with intravenous contrast agent"),
        region="chest", kind="technique", opposite="Chest CT without contrast",
    ),
    # Head.
    _head(
        "Intracranial haemorrhage",
        ("brain bleed", "intracranial hemorrhage", "bleeding in the brain", "ICH", "intracranial bleed",
         "blood within the skull", "intracranial bleeding", "brain haemorrhage", "brain hemorrhage"),
        may_show=("Mass effect", "Hydrocephalus"), places=HEMISPHERES, degrees=("acute", "large", "small"),
    ),
    _head(
        "Subdural haematoma",
        ("subdural hematoma", "SDH", "subdural haemorrhage", "subdural hemorrhage", "subdural bleed"),
        is_a=("Intracranial haemorrhage",), may_show=("Mass effect",), places=HEMISPHERES[:2],
        degrees=("acute", "chronic", "small"),
    ),
    _head(
        "Epidural haematoma", ("epidural hematoma", "extradural haematoma", "extradural hematoma", "EDH"),
        is_a=("Intracranial haemorrhage",), may_show=("Mass effect", "Skull fracture"), places=HEMISPHERES[:2],
        degrees=("acute",),
    ),
    _head(
        "Subarachnoid haemorrhage", ("subarachnoid hemorrhage", "SAH", "subarachnoid bleed"),
        is_a=("Intracranial haemorrhage",), may_show=("Hydrocephalus",), degrees=("acute", "diffuse"),
    ),
    _head(
        "Intraparenchymal haemorrhage",
        ("intraparenchymal hemorrhage", "intracerebral haemorrhage", "intracerebral hemorrhage", "haemorrhagic stroke",
         "hemorrhagic stroke"),
        is_a=("Intracranial haemorrhage",), may_show=("Mass effect",), places=HEMISPHERES, degrees=("acute", "large"),
    ),
    _head(
        "Intraventricular haemorrhage", ("intraventricular hemorrhage", "IVH", "blood in the ventricles"),
        is_a=("Intracranial haemorrhage",), may_show=("Hydrocephalus",), degrees=("acute",),
    ),
    _head(
        "Ischaemic stroke",
        ("ischemic stroke", "cerebral infarction", "brain infarct", "cerebral infarct", "ischaemic brain infarction",
         "ischemic cerebral infarct"),
        places=(*HEMISPHERES, "in the territory of the middle cerebral artery"), degrees=("acute", "old", "large"),
    ),
    _head(
        "Hydrocephalus", ("enlarged ventricles", "dilated ventricles", "ventriculomegaly", "water on the brain"),
        degrees=("obstructive", "mild", "severe"),
    ),
    _head("Mass effect", ("compression of the brain", "space-occupying effect"), degrees=("marked", "mild")),
    _head(
        "Midline shift", ("shift of the midline", "displaced midline"),
        is_a=("Mass effect",), places=("to the left", "to the right"), degrees=("marked",),
    ),
    _head(
        "Brain tumour", ("brain tumor", "intracranial tumour", "intracranial tumor", "brain mass", "intracranial mass"),
        may_show=("Mass effect",), places=HEMISPHERES, degrees=("large",),
    ),
    _head(
        "Brain atrophy", ("cerebral atrophy", "shrunken brain", "loss of brain volume"),
        degrees=("mild", "severe", "generalised"),
    ),
    _head(
        "Skull fracture", ("fractured skull", "broken skull"),
        is_a=("Fracture",), may_show=("Epidural haematoma",), places=("on the left", "on the right"),
        degrees=("depressed", "linear"),
    ),
    # Abdomen.
    _abdomen(
        "Kidney cyst", ("renal cyst", "cyst of the kidney", "fluid-filled sac of the kidney"),
        places=KIDNEYS, degrees=("simple", *SIZES),
    ),
    _abdomen(
        "Renal stone", ("kidney stone", "renal calculus", "nephrolithiasis", "urolithiasis", "kidney calculus"),
        may_show=("Hydronephrosis",), places=KIDNEYS, degrees=("small", "obstructing"),
    ),
    _abdomen(
        "Hydronephrosis", ("dilated renal pelvis", "obstructed kidney", "swollen kidney"),
        may_show=("Renal stone",), places=("on the left", "on the right"), degrees=("mild", "severe"),
    ),
    _abdomen(
        "Renal tumour", ("renal tumor", "kidney tumour", "kidney tumor", "renal mass"),
        places=KIDNEYS, degrees=SIZES,
    ),
    _abdomen("Renal cell carcinoma", ("kidney cancer", "renal cancer"), is_a=("Renal tumour",), places=KIDNEYS),
    _abdomen(
        "Liver lesion", ("hepatic lesion", "focal liver lesion", "focal hepatic lesion"),
        places=("in the left lobe of the liver", "in the right lobe of the liver"), degrees=("hypodense", *SIZES),
    ),
    _abdomen(
        "Liver metastases", ("hepatic metastases", "secondary liver tumours", "metastatic liver disease"),
        is_a=("Liver lesion",), degrees=("multiple",),
    ),
    _abdomen("Liver cyst", ("hepatic cyst", "cyst of the liver"), is_a=("Liver lesion",), degrees=("simple", "small")),
    _abdomen("Fatty liver", ("hepatic steatosis", "steatosis of the liver"), degrees=("mild", "severe")),
    _abdomen("Liver cirrhosis", ("cirrhosis", "cirrhotic liver"), may_show=("Ascites",), degrees=("advanced",)),
    _abdomen("Ascites", ("free abdominal fluid", "fluid in the abdomen", "peritoneal fluid"), degrees=SIZES),
    _abdomen("Gallstones", ("cholelithiasis", "gallbladder stones", "biliary calculi")),
    _abdomen("Appendicitis", ("inflamed appendix", "acute appendicitis"), degrees=("perforated", "early")),
    _abdomen("Bowel obstruction", ("intestinal obstruction", "dilated bowel loops"), degrees=("mechanical",)),
    _abdomen("Diverticulitis", ("inflamed diverticula",), degrees=("acute", "perforated")),
    _abdomen("Pancreatitis", ("inflamed pancreas", "inflammation of the pancreas"), degrees=("necrotising", "mild")),
    _abdomen("Splenomegaly", ("enlarged spleen", "big spleen"), degrees=("mild", "massive")),
    Finding(
        "Pneumoperitoneum",
        ("free air", "free intraperitoneal gas", "free air under the diaphragm", "free abdominal gas"),
        on=("ct", "xray"), region="abdomen", degrees=("small", "large"),
    ),
    # Vessels and bones.
    _ct(
        "Pulmonary embolism",
        ("PE", "pulmonary embolus", "clot in the lung", "lung clot", "blood clot in a lung artery",
         "pulmonary thromboembolism"),
        region="chest", places=("in the left pulmonary artery", "in the right pulmonary artery"),
        degrees=("acute", "central", "segmental", "massive"),
    ),
    Finding(
        "Aortic aneurysm", ("aneurysm of the aorta", "dilated aorta", "aortic dilatation"),
        on=("ct", "xray"), region="chest", places=("of the ascending aorta", "of the descending aorta"),
        degrees=("large", "thoracic"),
    ),
    _ct(
        "Abdominal aortic aneurysm", ("AAA", "aneurysm of the abdominal aorta"),
        region="abdomen", is_a=("Aortic aneurysm",), degrees=("infrarenal", "ruptured"),
    ),
    _ct(
        "Aortic dissection", ("dissection of the aorta", "torn aorta", "dissecting aorta"),
        region="chest", may_show=("Aortic aneurysm",), degrees=("acute", "type A", "type B"),
    ),
    _ct(
        "Coronary calcification", ("coronary artery calcium", "calcified coronary arteries"),
        region="chest", degrees=("mild", "severe"),
    ),
    Finding(
        "Fracture", ("broken bone", "bone fracture", "fractured bone"),
        on=("ct", "xray"), degrees=("displaced", "old", "healing", "acute"),
    ),
    Finding(
        "Vertebral fracture", ("vertebral compression fracture", "collapsed vertebra", "spinal compression fracture"),
        on=("ct", "xray"), is_a=("Fracture",), degrees=("old", "acute", "osteoporotic"),
    ),
)  # fmt: skip
