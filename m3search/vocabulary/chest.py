"""Findings of chest X-rays and chest CT."""

from __future__ import annotations

from functools import partial

from m3search.vocabulary.concepts import Finding

_chest = partial(Finding, on=("xray", "ct"), region="chest")
_film = partial(Finding, on=("xray",), region="chest")

LOBES = (
    "in the left lower lobe", "in the right lower lobe", "in the left upper lobe", "in the right upper lobe",
    "in the right middle lobe", "in the lingula",
)  # fmt: skip
ZONES = ("in the upper zones", "in the lower zones", "in the left lung", "in the right lung", "in both lungs")
SIDES = ("on the left", "on the right")
BOTH = (*SIDES, "on both sides")
SIZES = ("small", "moderate", "large")
DEGREES = ("mild", "moderate", "severe")
OPACITIES = ("Consolidation", "Infiltration", "Ground-glass opacity")

CHEST = (
    _film(
        "No Finding",
        ("normal lungs", "no abnormality", "clear lungs", "healthy chest", "normal chest", "healthy lungs",
         "no acute cardiopulmonary abnormality", "no active lung disease", "unremarkable chest",
         "normal heart and lungs"),
        kind="normal", opposite="abnormal chest findings",
    ),
    # Infections. The words they share ("lung infection") stand in groups.py.
    _chest(
        "Pneumonia", ("pneumonic infiltrate", "pneumonic opacity", "pneumonic change", "infective consolidation"),
        may_show=(*OPACITIES, "Pleural effusion", "Atelectasis"), places=LOBES + ZONES,
        degrees=("lobar", "patchy", "early", "severe"),
    ),
    _chest(
        "COVID-19",
        ("coronavirus infection", "SARS-CoV-2 pneumonia", "covid", "COVID-19 pneumonia", "coronavirus pneumonia",
         "coronavirus disease 2019", "novel coronavirus pneumonia"),
        may_show=(*OPACITIES, "Pneumonia", "Viral pneumonia", "Acute respiratory distress syndrome"),
        places=("in both lungs", "in the lower zones"), degrees=("mild", "severe"),
    ),
    _chest(
        "Bacterial pneumonia", ("bacterial lung infection", "bacterial chest infection"),
        is_a=("Pneumonia",), may_show=(*OPACITIES, "Pleural effusion"), places=LOBES, degrees=("lobar", "severe"),
    ),
    _chest(
        "Viral pneumonia", ("viral lung infection", "viral pneumonitis", "viral chest infection"),
        is_a=("Pneumonia",), may_show=OPACITIES, places=ZONES, degrees=("mild", "severe"),
    ),
    _chest(
        "Klebsiella pneumonia", ("Klebsiella lung infection", "Friedlander pneumonia"),
        is_a=("Bacterial pneumonia",), may_show=(*OPACITIES, "Lung abscess", "Pleural effusion"), places=LOBES,
        degrees=("lobar", "severe"),
    ),
    _chest(
        "Streptococcus pneumonia", ("pneumococcal pneumonia", "streptococcal pneumonia", "pneumococcal lung infection"),
        is_a=("Bacterial pneumonia",), may_show=(*OPACITIES, "Pleural effusion"), places=LOBES,
        degrees=("lobar", "severe"),
    ),
    _chest(
        "Legionella pneumonia", ("Legionnaires' disease", "legionellosis of the lungs"),
        is_a=("Bacterial pneumonia",), may_show=(*OPACITIES, "Pleural effusion"), places=LOBES,
        degrees=("lobar", "severe"),
    ),
    _chest(
        "E. coli pneumonia", ("Escherichia coli pneumonia", "Escherichia coli lung infection"),
        is_a=("Bacterial pneumonia",), may_show=(*OPACITIES, "Pleural effusion"), places=LOBES, degrees=("severe",),
    ),
    _chest(
        "Pneumocystis pneumonia", ("PCP", "PJP", "Pneumocystis jirovecii pneumonia", "Pneumocystis carinii pneumonia"),
        is_a=("Pneumonia",), may_show=(*OPACITIES, "Pneumothorax", "Lung cyst"), places=("in both lungs",),
        degrees=("diffuse", "severe"),
    ),
    _chest(
        "Varicella pneumonia", ("chickenpox pneumonia", "varicella-zoster pneumonia", "chickenpox of the lungs"),
        is_a=("Viral pneumonia",), may_show=(*OPACITIES, "Lung nodule"), places=("in both lungs",),
        degrees=("diffuse",),
    ),
    _chest(
        "Influenza pneumonia", ("flu pneumonia", "influenza lung infection"),
        is_a=("Viral pneumonia",), may_show=OPACITIES, places=ZONES, degrees=("severe",),
    ),
    _chest(
        "Lipoid pneumonia", ("lipid pneumonia", "lipoid pneumonitis"),
        is_a=("Pneumonia",), may_show=(*OPACITIES, "Lung mass"), places=LOBES, degrees=("chronic",),
    ),
    _chest(
        "Tuberculosis", ("TB", "pulmonary tuberculosis", "Mycobacterium tuberculosis infection", "lung tuberculosis"),
        may_show=(*OPACITIES, "Lung cavity", "Lung nodule", "Pleural effusion"),
        places=("in the upper lobes", "in the left upper lobe", "in the right upper lobe"),
        degrees=("active", "healed", "cavitating", "miliary"),
    ),
    _chest(
        "Lung abscess", ("pulmonary abscess", "abscess of the lung"),
        may_show=(*OPACITIES, "Lung cavity"), places=LOBES, degrees=("large",),
    ),
    # Opacities of the lung.
    _chest(
        "Infiltration",
        ("lung infiltrate", "pulmonary infiltrates", "pulmonary infiltrate", "infiltrates", "lung infiltration"),
        may_show=("Consolidation", "Ground-glass opacity", "Pneumonia"), places=LOBES + ZONES,
        degrees=("patchy", "diffuse", "interstitial"),
    ),
    _chest(
        "Consolidation", ("airspace consolidation", "alveolar consolidation", "consolidated lung"),
        may_show=("Infiltration", "Pneumonia"), places=LOBES + ZONES, degrees=("patchy", "dense"),
    ),
    _chest(
        "Ground-glass opacity",
        ("ground-glass opacification", "GGO", "ground-glass change", "ground glass attenuation", "hazy lung opacity"),
        may_show=("Pneumonia", "Infiltration"), places=ZONES, degrees=("patchy", "peripheral", "diffuse"),
    ),
    _chest(
        "Atelectasis",
        ("partially collapsed lung tissue", "lung volume loss", "lung collapse", "collapsed lung",
         "collapse of lung tissue"),
        may_show=("Consolidation",), places=(*LOBES, "at the left base", "at the right base", "at both bases"),
        degrees=("linear", "subsegmental", "mild"),
    ),
    _chest(
        "Pulmonary edema",
        ("fluid in the lungs", "lung congestion", "pulmonary oedema", "edema of the lungs", "oedema of the lungs",
         "water on the lungs", "pulmonary congestion", "congestive lung changes"),
        may_show=("Pleural effusion", "Cardiomegaly", "Kerley B lines", *OPACITIES), places=("in both lungs",),
        degrees=(*DEGREES, "interstitial", "acute"),
    ),
    _chest(
        "Acute respiratory distress syndrome",
        ("ARDS", "severe lung injury", "acute lung injury", "adult respiratory distress syndrome", "shock lung"),
        may_show=(*OPACITIES, "Pneumonia", "Pulmonary edema"), places=("in both lungs",), degrees=("severe", "early"),
    ),
    _chest(
        "Kerley B lines", ("septal lines", "Kerley lines", "thickened interlobular septa"),
        may_show=("Pulmonary edema",), places=("at the bases",),
    ),
    # Nodules and tumours.
    _chest(
        "Lung nodule",
        ("pulmonary nodule", "coin lesion", "small spot on the lung", "nodule in the lung", "nodular opacity"),
        may_show=("Lung cancer", "Benign lung tumour"), places=LOBES + ZONES,
        degrees=("solitary", "calcified", "small", "solid", "spiculated"),
    ),
    _chest(
        "Lung mass", ("mass in the lung", "pulmonary mass", "large lung lesion", "mass lesion of the lung"),
        may_show=("Lung cancer", "Lung nodule"), places=(*LOBES, "at the left hilum", "at the right hilum"),
        degrees=("large", "spiculated", "cavitating"),
    ),
    _chest(
        "Lung cancer",
        ("malignant lung tumour", "malignant lung tumor", "malignant lung nodule", "bronchial carcinoma",
         "lung carcinoma", "bronchogenic carcinoma", "cancer of the lung", "pulmonary malignancy"),
        may_show=("Lung nodule", "Lung mass", "Atelectasis", "Pleural effusion", "Lymphadenopathy"), places=LOBES,
        degrees=("advanced", "peripheral", "central", "early"),
    ),
    _chest(
        "Benign lung tumour",
        ("benign lung nodule", "benign tumor of the lung", "benign lung tumor", "benign pulmonary lesion",
         "non-cancerous lung tumour"),
        may_show=("Lung nodule", "Lung mass"), places=LOBES, degrees=("small",),
    ),
    _chest(
        "Lung metastases",
        ("pulmonary metastases", "metastatic lung disease", "cannonball metastases", "secondary lung cancer deposits"),
        may_show=("Lung nodule", "Lung mass"), places=("in both lungs",), degrees=("multiple",),
    ),
    _chest(
        "Lung cavity", ("cavitating lung lesion", "pulmonary cavity", "cavitary lesion"),
        may_show=("Lung mass", "Tuberculosis"), places=LOBES, degrees=("thick-walled", "thin-walled"),
    ),
    _chest("Lung cyst", ("pulmonary cyst", "air cyst of the lung"), places=ZONES, degrees=("thin-walled",)),
    # Pleura.
    _chest(
        "Pleural effusion",
        ("fluid around the lung", "effusion", "pleural fluid", "fluid in the pleural space", "water around the lungs"),
        may_show=("Atelectasis",), places=(*BOTH, "at the left base", "at the right base"),
        degrees=(*SIZES, "trace", "massive"),
    ),
    _chest(
        "Pneumothorax", ("collapsed lung", "air in the pleural space", "air around the lung", "pleural air"),
        places=(*SIDES, "at the left apex", "at the right apex"), degrees=("small", "large", "tiny"),
    ),
    _chest(
        "Tension pneumothorax", ("pneumothorax under tension", "pneumothorax with mediastinal shift"),
        is_a=("Pneumothorax",), places=SIDES,
    ),
    _chest(
        "Pleural thickening", ("thickened pleura", "thick pleura", "pleural scarring", "thickening of the pleura"),
        may_show=("Pleural effusion",), places=(*BOTH, "at the apices"), degrees=("mild", "marked"),
    ),
    _chest(
        "Pleural plaques", ("asbestos plaques",),
        may_show=("Pleural thickening",), places=("on both sides", "along the diaphragm"),
    ),
    # Chronic lung disease.
    _chest(
        "Emphysema",
        ("COPD", "hyperinflated lungs", "chronic obstructive pulmonary disease", "emphysematous lungs",
         "pulmonary emphysema", "overinflated lungs"),
        may_show=("Bullae",), places=("in the upper zones", "in both lungs"),
        degrees=(*DEGREES, "centrilobular", "bullous"),
    ),
    _chest(
        "Bullae", ("bullous lung disease", "lung bullae", "giant bulla"),
        may_show=("Emphysema",), places=("at the apices",),
    ),
    _chest(
        "Pulmonary fibrosis",
        ("scarred lungs", "lung scarring", "fibrosis of the lungs", "interstitial lung disease", "lung fibrosis",
         "fibrotic lung changes"),
        may_show=("Honeycombing", "Bronchiectasis", "Infiltration"), places=("at the bases", "in both lungs"),
        degrees=(*DEGREES, "basal"),
    ),
    _chest("Honeycombing", ("honeycomb lung",), may_show=("Pulmonary fibrosis",), places=("at the bases",)),
    _chest(
        "Bronchiectasis", ("dilated bronchi", "widened airways", "bronchial dilatation"),
        may_show=("Pulmonary fibrosis",), places=LOBES, degrees=("mild", "cystic", "traction"),
    ),
    _chest(
        "Sarcoidosis", ("sarcoid", "pulmonary sarcoidosis"),
        may_show=("Lymphadenopathy", "Lung nodule", "Infiltration"), degrees=("stage two",),
    ),
    # Heart, vessels, mediastinum.
    _chest(
        "Cardiomegaly",
        ("enlarged heart", "big heart", "cardiac enlargement", "enlarged cardiac silhouette", "enlarged heart shadow",
         "increased cardiothoracic ratio"),
        degrees=(*DEGREES, "stable"),
    ),
    _chest(
        "Pericardial effusion", ("fluid around the heart", "pericardial fluid"),
        may_show=("Cardiomegaly",), degrees=SIZES,
    ),
    _chest(
        "Lymphadenopathy", ("enlarged lymph nodes", "swollen lymph nodes"),
        places=("at the hila", "in the mediastinum"), degrees=("bulky",),
    ),
    _chest("Widened mediastinum", ("mediastinal widening", "broad mediastinum"), may_show=("Aortic aneurysm",)),
    _chest(
        "Hiatal hernia", ("hernia", "stomach in the chest", "hiatus hernia", "diaphragmatic hernia of the stomach"),
        degrees=("large", "sliding"),
    ),
    # Trauma, free gas, bones.
    _chest(
        "Rib fracture", ("broken rib", "fractured rib", "rib break"),
        is_a=("Fracture",), may_show=("Pneumothorax",), places=SIDES, degrees=("displaced", "healing", "old"),
    ),
    _chest("Scoliosis", ("curved spine", "curvature of the spine"), degrees=DEGREES),
    _chest(
        "Subcutaneous emphysema", ("surgical emphysema", "air under the skin"),
        may_show=("Pneumothorax",), places=BOTH,
    ),
    _chest(
        "Pneumomediastinum", ("air in the mediastinum", "mediastinal emphysema"),
        may_show=("Subcutaneous emphysema",),
    ),
)  # fmt: skip
