"""Everyday words for what the archives hold, so that a query need not be phrased as the training texts are.

Every text an item can be trained with is listed here or stands in its manifest row; nothing is generated at random.
"""

from __future__ import annotations

# What people call an examination, by modality. CT has two regions: the caption says which.
NAMES: dict[str, tuple[str, ...]] = {
    "xray": (
        "chest X-ray", "chest radiograph", "chest film", "CXR", "X-ray of the chest", "frontal chest radiograph",
        "plain film of the lungs", "lung X-ray", "radiograph of the thorax", "X-ray picture of the chest",
    ),
    "ct": (
        "CT", "CT scan", "computed tomography", "CAT scan", "axial CT slice", "CT image", "cross-sectional CT",
        "tomography scan",
    ),
    "ct chest": (
        "chest CT", "axial chest CT", "CT scan of the lungs", "CT thorax", "computed tomography of the chest",
        "lung CT scan", "thoracic CT slice", "HRCT of the chest", "CT scan of the chest",
    ),
    "ct head": (
        "head CT", "CT scan of the head", "brain CT", "axial head CT", "computed tomography of the brain",
        "CT of the skull",
    ),
    "retina": (
        "fundus photograph", "colour fundus photograph", "retinal photograph", "eye photo", "picture of the retina",
        "retina image", "ophthalmoscopy image", "back of the eye", "fundus image", "diabetic eye screening photograph",
    ),
    "ecg": (
        "ECG", "EKG", "12-lead ECG", "electrocardiogram", "heart tracing", "heart rhythm strip", "cardiac tracing",
        "12-lead electrocardiogram", "electrical recording of the heart", "ECG signal",
    ),
    "pathology": (
        "histopathology", "tissue slide", "H&E", "H&E-stained tissue", "microscope slide", "biopsy slide",
        "histology image", "pathology slide", "haematoxylin and eosin section", "microscopy of stained tissue",
    ),
}  # fmt: skip

# Other words for a label. A label that is not here is only called by its own name.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "No Finding": ("normal lungs", "no abnormality", "clear lungs", "healthy chest"),
    "Pneumonia": ("lung infection", "infected lung", "chest infection"),
    "COVID-19": ("coronavirus infection", "SARS-CoV-2 pneumonia", "covid"),
    "Infiltration": ("lung infiltrate", "pulmonary infiltrates"),
    "Atelectasis": ("partially collapsed lung tissue", "lung volume loss"),
    "Pulmonary edema": ("fluid in the lungs", "lung congestion", "pulmonary oedema", "edema"),
    "Pleural effusion": ("fluid around the lung", "effusion"),
    "Consolidation": ("airspace consolidation", "lung opacity"),
    "Pleural thickening": ("thickened pleura",),
    "Lung nodule": ("pulmonary nodule", "coin lesion", "small spot on the lung"),
    "Lung mass": ("mass in the lung", "pulmonary mass", "large lung lesion"),
    "Cardiomegaly": ("enlarged heart", "big heart"),
    "Pneumothorax": ("collapsed lung", "air in the pleural space"),
    "Emphysema": ("COPD", "hyperinflated lungs"),
    "Pulmonary fibrosis": ("scarred lungs", "lung scarring"),
    "Hiatal hernia": ("hernia", "stomach in the chest"),
    "Acute respiratory distress syndrome": ("ARDS", "severe lung injury"),
    "Lung cancer": ("malignant lung tumour", "lung tumor", "malignant lung nodule", "bronchial carcinoma"),
    "Benign lung tumour": ("benign lung nodule", "benign tumor of the lung"),
    "Normal": ("no abnormality", "healthy", "unremarkable"),
    "Intracranial haemorrhage": ("brain bleed", "intracranial hemorrhage", "bleeding in the brain"),
    "Chest CT without contrast": ("non-contrast chest CT", "unenhanced CT", "without intravenous contrast"),
    "Contrast-enhanced chest CT": ("CT with contrast", "contrast CT", "with intravenous contrast"),
    "No diabetic retinopathy": ("normal retina", "healthy eye", "normal fundus"),
    "Mild diabetic retinopathy": ("mild non-proliferative diabetic retinopathy", "microaneurysms", "early retinopathy"),
    "Moderate diabetic retinopathy": ("moderate NPDR", "diabetic retinopathy", "retinal haemorrhages"),
    "Severe diabetic retinopathy": ("severe NPDR", "advanced diabetic retinopathy", "diabetic retinopathy"),
    "Proliferative diabetic retinopathy": ("PDR", "neovascularisation", "diabetic retinopathy"),
    "Diabetic maculopathy": ("diabetic macular edema", "hard exudates at the macula", "macular oedema"),
    "Advanced diabetic eye disease": ("diabetic retinal detachment", "vitreous haemorrhage"),
    "sinus rhythm": ("normal heart rhythm", "regular rhythm", "normal sinus rhythm"),
    "normal ECG": ("healthy heart", "normal tracing", "no abnormality of the heart", "normal sinus rhythm"),
    "atrial fibrillation": ("AF", "AFib", "irregular heartbeat"),
    "atrial flutter": ("flutter waves",),
    "sinus tachycardia": ("fast heart rate", "rapid heartbeat"),
    "sinus bradycardia": ("slow heart rate", "slow heartbeat"),
    "sinus arrhythmia": ("slightly irregular rhythm",),
    "inferior myocardial infarction": ("heart attack", "inferior MI", "myocardial infarction"),
    "anteroseptal myocardial infarction": ("heart attack", "anteroseptal MI", "myocardial infarction"),
    "anterior myocardial infarction": ("heart attack", "anterior MI", "myocardial infarction"),
    "lateral myocardial infarction": ("heart attack", "lateral MI", "myocardial infarction"),
    "inferolateral myocardial infarction": ("heart attack", "myocardial infarction"),
    "anterolateral myocardial infarction": ("heart attack", "myocardial infarction"),
    "left ventricular hypertrophy": ("LVH", "thickened heart muscle"),
    "left bundle branch block": ("LBBB",),
    "right bundle branch block": ("RBBB",),
    "incomplete right bundle branch block": ("incomplete RBBB",),
    "left anterior fascicular block": ("left anterior hemiblock",),
    "ventricular premature complex": ("premature ventricular contraction", "PVC", "extra heartbeat"),
    "atrial premature complex": ("premature atrial contraction", "PAC"),
    "first degree AV block": ("prolonged PR", "atrioventricular block"),
    "ST depression": ("depressed ST segment",),
    "ST elevation": ("STEMI", "raised ST segment", "acute heart attack"),
    "non-specific ischemia": ("ischaemia", "poor blood supply of the heart"),
    "pacemaker": ("paced rhythm",),
    "Oral squamous cell carcinoma": ("mouth cancer", "OSCC", "oral cancer", "squamous cell carcinoma"),
    "Normal oral epithelium": ("normal oral mucosa", "healthy mouth tissue"),
    "Colon adenocarcinoma": ("colon cancer", "colorectal cancer", "bowel cancer"),
    "Colorectal adenocarcinoma epithelium": ("colorectal cancer", "bowel cancer", "colorectal tumour"),
    "Colorectal cancer-associated stroma": ("tumour stroma", "colorectal tissue"),
    "Colorectal normal colon mucosa": ("normal bowel lining", "colorectal tissue"),
    "Colorectal adipose tissue": ("fat tissue", "colorectal tissue"),
    "Colorectal lymphocytes": ("lymphoid tissue", "colorectal tissue"),
    "Colorectal mucus": ("mucin", "colorectal tissue"),
    "Colorectal smooth muscle": ("muscle tissue", "colorectal tissue"),
    "Benign colonic tissue": ("normal colon", "healthy bowel tissue"),
    "Lung adenocarcinoma": ("lung cancer cells", "adenocarcinoma of the lung"),
    "Lung squamous cell carcinoma": ("squamous lung cancer", "lung cancer cells"),
    "Benign lung tissue": ("normal lung tissue", "healthy lung parenchyma"),
    "Osteosarcoma viable tumour": ("bone cancer", "bone tumour", "osteosarcoma"),
    "Osteosarcoma non-viable tumour": ("necrotic bone tumour", "osteosarcoma"),
    "Osteosarcoma non-tumour tissue": ("bone tissue without tumour",),
    "Benign breast tumour": ("benign breast lesion", "benign breast tissue"),
    "Malignant breast tumour": ("breast cancer",),
    "Breast ductal carcinoma": ("invasive ductal carcinoma", "breast cancer"),
}  # fmt: skip

TEMPLATES = (
    "{name} of {label}",
    "{name} showing {label}",
    "{label} on {name}",
    "{name} with {label}",
    "{label} {name}",
)


def names_for(modality: str, caption: str) -> tuple[str, ...]:
    """What an examination with this caption may be called."""
    if modality != "ct":
        return NAMES.get(modality, (modality,))
    lower = caption.lower()
    region = "ct head" if "head" in lower or "brain" in lower else "ct chest" if "chest" in lower else "ct"
    return NAMES["ct"] + (NAMES[region] if region != "ct" else ())


def words_for(label: str) -> tuple[str, ...]:
    """The label itself, then other words for it."""
    return (label, *SYNONYMS.get(label, ()))
