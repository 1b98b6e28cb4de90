"""Words for several findings at once: superclasses, and everyday words wider than any one label."""

from __future__ import annotations

from m3search.vocabulary.chest import CHEST
from m3search.vocabulary.concepts import Finding, Group
from m3search.vocabulary.ct import CT
from m3search.vocabulary.ecg import CONDUCTION, ECG, INFARCTIONS, ISCHEMIA
from m3search.vocabulary.pathology import PATHOLOGY

# Variants that are written beside "normal ECG": whoever has them is not ill.
BORDERLINE = frozenset({
    "sinus arrhythmia", "sinus bradycardia", "sinus tachycardia", "incomplete right bundle branch block",
    "low QRS voltage", "high QRS voltage", "voltage criteria for left ventricular hypertrophy", "early repolarisation",
    "atrial premature complex", "ventricular premature complex", "left axis deviation", "right axis deviation",
    "prolonged PR interval", "low amplitude T waves", "non-diagnostic T wave abnormality",
    "non-specific ST changes", "non-specific T wave changes", "atrial escape beat",
})  # fmt: skip


def _abnormal(findings: tuple[Finding, ...], modality: str) -> tuple[str, ...]:
    return tuple(finding.label for finding in findings if finding.kind == "abnormal" and modality in finding.on)


def _labels(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    return tuple(finding.label for finding in findings)


GROUPS = (
    # Whatever is not normal.
    Group(
        ("abnormal chest findings", "abnormal findings", "abnormality of the chest"),
        _abnormal(CHEST + CT, "xray"),
        "No Finding",
        ("xray",),
    ),
    Group(
        ("abnormal CT findings", "abnormal findings", "pathological CT findings"),
        _abnormal(CHEST + CT, "ct"),
        "Normal",
        ("ct",),
    ),
    Group(
        ("abnormal ECG", "abnormal EKG", "pathological ECG", "abnormal electrocardiogram"),
        tuple(label for label in _abnormal(ECG, "ecg") if label not in BORDERLINE),
        "normal ECG",
        ("ecg",),
    ),
    # Chest.
    # COVID-19 is found by a swab and its film may be clear, and sources list it beside "Pneumonia": it counts as an
    # infection of the lung, yet not as what sources call pneumonia.
    Group(
        ("lung infection", "chest infection", "infected lung", "infection of the lungs", "respiratory infection",
         "lower respiratory tract infection"),
        ("Pneumonia", "COVID-19", "Tuberculosis", "Lung abscess"),
    ),
    Group(
        ("lung opacity", "lung shadowing", "airspace opacity", "opacity in the lung", "shadow on the lung"),
        ("Consolidation", "Infiltration", "Pneumonia", "Ground-glass opacity", "Pulmonary edema",
         "Acute respiratory distress syndrome"),
    ),
    Group(
        ("pleural disease", "disease of the pleura", "pleural abnormality"),
        ("Pleural effusion", "Pneumothorax", "Pleural thickening", "Pleural plaques"),
    ),
    Group(
        ("lung lesion", "focal lung lesion", "spot on the lung"),
        ("Lung nodule", "Lung mass", "Lung cancer", "Benign lung tumour", "Lung metastases"),
    ),
    Group(
        ("lung tumour", "lung tumor", "tumour of the lung", "tumor of the lung", "lung neoplasm"),
        ("lung cancer", "Benign lung tumour", "Lung metastases"),
    ),
    Group(("chronic lung disease",), ("Emphysema", "Pulmonary fibrosis", "Bronchiectasis", "Bullae", "Honeycombing")),
    # Retina.
    Group(
        ("diabetic retinopathy", "diabetic eye disease", "DR", "diabetic changes of the retina",
         "retinopathy of diabetes", "damage to the retina from diabetes"),
        ("Mild diabetic retinopathy", "Moderate diabetic retinopathy", "Severe diabetic retinopathy",
         "Proliferative diabetic retinopathy", "Advanced diabetic eye disease", "Diabetic maculopathy"),
        "No diabetic retinopathy",
    ),
    Group(
        ("non-proliferative diabetic retinopathy", "NPDR", "nonproliferative diabetic retinopathy",
         "background diabetic retinopathy"),
        ("Mild diabetic retinopathy", "Moderate diabetic retinopathy", "Severe diabetic retinopathy"),
    ),
    Group(
        ("advanced diabetic retinopathy", "late diabetic retinopathy"),
        ("Severe diabetic retinopathy", "Proliferative diabetic retinopathy", "Advanced diabetic eye disease"),
    ),
    Group(
        ("sight-threatening diabetic retinopathy", "vision-threatening diabetic retinopathy",
         "sight-threatening retinopathy"),
        ("advanced diabetic retinopathy", "Diabetic maculopathy"),
    ),
    Group(
        ("macular disease", "disease of the macula"),
        ("Diabetic maculopathy", "Age-related macular degeneration", "Macular hole", "Epiretinal membrane"),
    ),
    Group(("optic disc abnormality", "abnormal optic disc"), ("Glaucomatous cupping", "Papilloedema", "Optic atrophy")),
    # ECG: the superclasses of PTB-XL and what people say.
    Group(
        ("myocardial infarction", "heart attack", "MI", "infarction of the heart", "coronary infarction"),
        (*_labels(INFARCTIONS), "ventricular aneurysm pattern"),
    ),
    Group(
        ("ischaemia", "ischemia", "myocardial ischemia", "myocardial ischaemia", "poor blood supply of the heart",
         "ischaemic changes", "ischemic changes"),
        tuple(label for label in _labels(ISCHEMIA) if label != "ventricular aneurysm pattern"),
    ),
    Group(
        ("ischaemic heart disease", "ischemic heart disease", "coronary heart disease", "coronary artery disease"),
        ("myocardial infarction", "ischaemia"),
    ),
    Group(
        ("ST-T change", "ST/T change", "repolarisation abnormality", "repolarization abnormality", "ST-T changes"),
        ("ischaemia", "ST elevation", "ST depression", "T wave inversion", "low amplitude T waves",
         "non-specific ST changes", "non-specific T wave changes", "non-diagnostic T wave abnormality",
         "nonspecific ST-T abnormality", "digitalis effect", "electrolyte disturbance or drug effect",
         "hyperkalaemia"),
    ),
    Group(
        ("conduction disorder", "conduction disturbance", "conduction abnormality", "cardiac conduction block"),
        tuple(label for label in _labels(CONDUCTION) if not label.startswith("prolonged")),
    ),
    Group(
        ("bundle branch block", "BBB"),
        ("left bundle branch block", "right bundle branch block", "incomplete left bundle branch block",
         "incomplete right bundle branch block"),
    ),
    Group(("fascicular block", "hemiblock"), ("left anterior fascicular block", "left posterior fascicular block")),
    Group(
        ("AV block", "atrioventricular block", "heart block"),
        ("first degree AV block", "second degree AV block", "third degree AV block"),
    ),
    Group(
        ("hypertrophy", "heart enlargement on the ECG", "chamber enlargement",
         "ventricular hypertrophy or atrial enlargement"),
        ("left ventricular hypertrophy", "right ventricular hypertrophy", "septal hypertrophy",
         "left atrial enlargement", "right atrial enlargement"),
    ),
    Group(("atrial enlargement", "enlarged atria"), ("left atrial enlargement", "right atrial enlargement")),
    Group(
        ("arrhythmia", "cardiac arrhythmia", "heart rhythm disorder", "abnormal heart rhythm", "dysrhythmia",
         "rhythm disturbance"),
        ("atrial fibrillation", "atrial flutter", "supraventricular tachycardia", "supraventricular arrhythmia",
         "ventricular tachycardia", "ventricular fibrillation", "bigeminy", "second degree AV block",
         "third degree AV block", "junctional rhythm"),
    ),
    Group(
        ("tachycardia", "fast heartbeat", "racing heart"),
        ("sinus tachycardia", "supraventricular tachycardia", "ventricular tachycardia"),
    ),
    Group(
        ("ectopic beats", "extra heartbeat", "extrasystoles", "premature beats", "skipped heartbeats", "ectopy"),
        ("atrial premature complex", "ventricular premature complex", "bigeminy"),
    ),
    # Tumours, whichever way they are seen.
    Group(
        ("cancer", "malignancy", "malignant tumour", "malignant tumor", "malignant neoplasm"),
        ("lung cancer", "colorectal cancer", "breast cancer", "osteosarcoma", "Renal cell carcinoma",
         "Oral squamous cell carcinoma",
         "Skin squamous cell carcinoma", "Basal cell carcinoma", "Melanoma", "Gastric adenocarcinoma",
         "Prostate adenocarcinoma", "Mucinous carcinoma", "Lymph node metastasis", "Lung metastases",
         "Liver metastases", "Tumour-rich tissue"),
    ),
    Group(
        ("carcinoma", "epithelial cancer"),
        ("lung cancer", "colorectal cancer", "breast cancer", "Oral squamous cell carcinoma",
         "Skin squamous cell carcinoma", "Basal cell carcinoma", "Gastric adenocarcinoma", "Prostate adenocarcinoma",
         "Mucinous carcinoma"),
    ),
    Group(
        ("adenocarcinoma", "glandular cancer"),
        ("Colon adenocarcinoma", "Colorectal adenocarcinoma epithelium", "Lung adenocarcinoma",
         "Gastric adenocarcinoma", "Prostate adenocarcinoma"),
    ),
    Group(
        ("squamous cell carcinoma", "SCC", "squamous carcinoma", "squamous cell cancer"),
        ("Oral squamous cell carcinoma", "Lung squamous cell carcinoma", "Skin squamous cell carcinoma"),
    ),
    Group(
        ("lung cancer", "lung cancer cells", "malignancy of the lung"),
        ("Lung cancer", "Lung adenocarcinoma", "Lung squamous cell carcinoma", "Small cell lung carcinoma"),
    ),
    Group(("non-small cell lung cancer", "NSCLC"), ("Lung adenocarcinoma", "Lung squamous cell carcinoma")),
    Group(
        ("colorectal cancer", "bowel cancer", "colorectal carcinoma", "colorectal tumour", "colorectal tumor",
         "cancer of the bowel"),
        ("Colon adenocarcinoma", "Colorectal adenocarcinoma epithelium"),
    ),
    Group(("breast cancer", "mammary carcinoma"), ("Malignant breast tumour",)),
    Group(
        ("breast tumour", "breast tumor", "breast lesion"),
        ("Malignant breast tumour", "Benign breast tumour", "Breast phyllodes tumour", "Ductal carcinoma in situ"),
    ),
    Group(
        ("osteosarcoma", "bone cancer", "bone tumour", "bone tumor", "malignant bone tumour"),
        ("Osteosarcoma viable tumour", "Osteosarcoma non-viable tumour"),
    ),
    Group(
        ("benign tumour", "benign tumor", "benign lesion", "non-cancerous tumour"),
        ("Benign breast tumour", "Benign lung tumour", "Colon adenoma"),
    ),
    Group(
        ("tumour", "tumor", "neoplasm", "tumour cells", "tumor cells"),
        ("cancer", "benign tumour", "Breast phyllodes tumour", "Brain tumour", "Renal tumour"),
    ),
    Group(
        ("colorectal tissue", "bowel tissue", "tissue of the large bowel"),
        tuple(finding.label for finding in PATHOLOGY if finding.region == "colon"),
    ),
    Group(
        ("normal tissue", "healthy tissue", "tissue without cancer", "benign tissue"),
        tuple(finding.label for finding in PATHOLOGY if finding.kind == "normal"),
    ),
    # Head and bleeding.
    Group(("stroke", "cerebrovascular accident", "apoplexy"), ("Ischaemic stroke", "Intraparenchymal haemorrhage")),
    Group(
        ("haemorrhage", "hemorrhage", "bleeding"),
        ("Intracranial haemorrhage", "Retinal haemorrhage", "Vitreous haemorrhage"),
    ),
)  # fmt: skip

# An item has one of each of these at most.
EXCLUSIVE = tuple(
    frozenset(labels)
    for labels in (
        ("Mild diabetic retinopathy", "Moderate diabetic retinopathy", "Severe diabetic retinopathy",
         "Proliferative diabetic retinopathy", "Advanced diabetic eye disease"),
        ("Glaucomatous cupping", "Papilloedema", "Optic atrophy"),
        ("Lung cancer", "Benign lung tumour"),
        ("sinus tachycardia", "sinus bradycardia", "atrial fibrillation", "atrial flutter", "ventricular tachycardia",
         "supraventricular tachycardia", "atrial tachycardia", "ventricular fibrillation", "junctional rhythm",
         "pacemaker", "sinus arrhythmia", "prolonged PR interval"),
        ("left bundle branch block", "right bundle branch block", "incomplete left bundle branch block",
         "incomplete right bundle branch block", "Wolff-Parkinson-White syndrome", "pacemaker",
         "intraventricular conduction disturbance"),
        ("first degree AV block", "second degree AV block", "third degree AV block", "atrial fibrillation",
         "atrial flutter"),
        ("high QRS voltage", "low QRS voltage"),
        ("left axis deviation", "right axis deviation"),
        ("left anterior fascicular block", "left posterior fascicular block"),
    )
)  # fmt: skip
