"""Findings of H&E-stained tissue."""

from __future__ import annotations

from functools import partial

from m3search.vocabulary.concepts import Finding

_tissue = partial(Finding, on=("pathology",))
_colon = partial(Finding, on=("pathology",), region="colon")
_lung = partial(Finding, on=("pathology",), region="lung")
_breast = partial(Finding, on=("pathology",), region="breast")
_mouth = partial(Finding, on=("pathology",), region="mouth")
_skin = partial(Finding, on=("pathology",), region="skin")
_bone = partial(Finding, on=("pathology",), region="bone")

GRADES = ("well differentiated", "moderately differentiated", "poorly differentiated")
_CANCER = ("Tumour-rich tissue", "Necrosis", "Mitoses", "Tumour-infiltrating lymphocytes", "Inflammation")

PATHOLOGY = (
    # Mouth.
    _mouth(
        "Oral squamous cell carcinoma",
        ("mouth cancer", "OSCC", "oral cancer", "squamous cell carcinoma of the mouth", "oral carcinoma",
         "SCC of the oral cavity", "squamous carcinoma of the oral mucosa", "malignant tumour of the mouth"),
        may_show=_CANCER, degrees=(*GRADES, "keratinising", "invasive"),
    ),
    _mouth(
        "Normal oral epithelium",
        ("normal oral mucosa", "healthy mouth tissue", "normal squamous epithelium of the mouth",
         "healthy oral mucosa"),
        kind="normal", opposite="Oral squamous cell carcinoma",
    ),
    # Colon and rectum.
    _colon(
        "Colon adenocarcinoma",
        ("colon cancer", "adenocarcinoma of the colon", "colonic carcinoma", "malignant colonic glands"),
        may_show=_CANCER, degrees=(*GRADES, "invasive"),
    ),
    _colon(
        "Colorectal adenocarcinoma epithelium",
        ("colorectal carcinoma cells", "colorectal tumour epithelium", "colorectal tumor epithelium",
         "malignant colorectal glands"),
        may_show=_CANCER, degrees=GRADES,
    ),
    _colon(
        "Colorectal cancer-associated stroma",
        ("tumour stroma", "tumor stroma", "desmoplastic stroma", "cancer-associated stroma"),
        kind="tissue", may_show=("cancer", "Fibrosis", "Inflammation"),
    ),
    _colon(
        "Colorectal normal colon mucosa",
        ("normal bowel lining", "normal colon mucosa", "normal colonic glands", "healthy colonic mucosa",
         "normal crypts"),
        kind="normal", opposite="colorectal cancer",
    ),
    _colon(
        "Benign colonic tissue",
        ("normal colon", "healthy bowel tissue", "benign colon tissue", "non-cancerous colonic tissue"),
        kind="normal", opposite="colorectal cancer",
    ),
    _colon(
        "Colorectal adipose tissue", ("fat tissue", "adipose tissue", "fat cells", "adipocytes", "fatty tissue"),
        kind="tissue",
    ),
    _colon(
        "Colorectal lymphocytes", ("lymphoid tissue", "lymphocytes", "lymphocytic infiltrate", "lymphoid aggregate"),
        kind="tissue", may_show=("Inflammation", "Tumour-infiltrating lymphocytes"),
    ),
    _colon(
        "Colorectal mucus", ("mucin", "mucus", "extracellular mucin", "pools of mucus"),
        kind="tissue", may_show=("colorectal cancer", "Mucinous carcinoma"),
    ),
    _colon(
        "Colorectal smooth muscle",
        ("muscle tissue", "smooth muscle", "muscularis propria", "muscle fibres", "muscle fibers"),
        kind="tissue",
    ),
    _colon(
        "Colon adenoma", ("adenomatous polyp", "colonic polyp"),
        may_show=("Dysplasia",), degrees=("tubular", "tubulovillous", "villous"),
    ),
    # Lung.
    _lung(
        "Lung adenocarcinoma", ("adenocarcinoma of the lung", "pulmonary adenocarcinoma", "glandular lung cancer"),
        may_show=_CANCER, degrees=(*GRADES, "acinar", "lepidic"),
    ),
    _lung(
        "Lung squamous cell carcinoma",
        ("squamous lung cancer", "squamous cell carcinoma of the lung", "pulmonary squamous cell carcinoma",
         "SCC of the lung"),
        may_show=_CANCER, degrees=(*GRADES, "keratinising"),
    ),
    _lung("Small cell lung carcinoma", ("small cell lung cancer", "SCLC", "oat cell carcinoma"), may_show=_CANCER),
    _lung(
        "Benign lung tissue",
        ("normal lung tissue", "healthy lung parenchyma", "normal alveoli", "non-cancerous lung tissue"),
        kind="normal", opposite="lung cancer",
    ),
    # Bone.
    _bone(
        "Osteosarcoma viable tumour",
        ("viable osteosarcoma", "viable bone tumour", "viable bone tumor", "living osteosarcoma cells",
         "osteosarcoma viable tumor"),
        may_show=_CANCER, degrees=("high-grade",),
    ),
    _bone(
        "Osteosarcoma non-viable tumour",
        ("necrotic bone tumour", "necrotic osteosarcoma", "necrotic bone tumor", "non-viable osteosarcoma",
         "osteosarcoma non-viable tumor", "osteosarcoma killed by chemotherapy"),
        may_show=_CANCER,
    ),
    _bone(
        "Osteosarcoma non-tumour tissue",
        ("bone tissue without tumour", "bone tissue without tumor", "non-tumour bone tissue", "non-tumor bone tissue",
         "bone and marrow free of tumour"),
        kind="normal", opposite="osteosarcoma",
    ),
    # Breast.
    _breast(
        "Benign breast tumour",
        ("benign breast lesion", "benign breast tissue", "benign breast tumor", "non-cancerous breast tumour",
         "benign breast lump"),
    ),
    _breast(
        "Malignant breast tumour",
        ("breast carcinoma", "malignant breast tumor", "malignant breast lesion", "cancer of the breast"),
        may_show=_CANCER, degrees=("invasive",),
    ),
    _breast("Breast adenosis", ("adenosis of the breast", "mammary adenosis"), is_a=("Benign breast tumour",)),
    _breast("Breast fibroadenoma", ("fibroadenoma", "fibroadenoma of the breast"), is_a=("Benign breast tumour",)),
    _breast(
        "Breast phyllodes tumour",
        ("phyllodes tumor", "phyllodes tumour of the breast", "cystosarcoma phyllodes", "breast phyllodes tumor"),
    ),
    _breast(
        "Breast tubular adenoma", ("tubular adenoma of the breast", "adenoma of the breast"),
        is_a=("Benign breast tumour",),
    ),
    _breast(
        "Breast ductal carcinoma",
        ("invasive ductal carcinoma", "ductal breast cancer", "IDC", "infiltrating ductal carcinoma",
         "invasive carcinoma of no special type"),
        is_a=("Malignant breast tumour",), may_show=_CANCER, degrees=("grade 1", "grade 2", "grade 3"),
    ),
    _breast(
        "Breast lobular carcinoma", ("invasive lobular carcinoma", "ILC", "lobular breast cancer"),
        is_a=("Malignant breast tumour",), may_show=_CANCER,
    ),
    _breast(
        "Breast mucinous carcinoma",
        ("mucinous breast cancer", "colloid carcinoma of the breast", "mucinous carcinoma of the breast"),
        is_a=("Malignant breast tumour", "Mucinous carcinoma"), may_show=_CANCER,
    ),
    _breast(
        "Breast papillary carcinoma", ("papillary breast cancer", "papillary carcinoma of the breast"),
        is_a=("Malignant breast tumour",), may_show=_CANCER,
    ),
    _breast(
        "Ductal carcinoma in situ", ("DCIS", "intraductal carcinoma"),
        may_show=("Malignant breast tumour", "Dysplasia", "Necrosis"), degrees=("high-grade", "low-grade"),
    ),
    # Other organs.
    _skin(
        "Basal cell carcinoma", ("BCC", "basalioma", "basal cell skin cancer"),
        may_show=_CANCER, degrees=("nodular", "superficial"),
    ),
    _skin(
        "Melanoma", ("malignant melanoma", "melanoma of the skin", "black skin cancer"),
        may_show=_CANCER, degrees=("invasive", "superficial spreading"),
    ),
    _skin(
        "Skin squamous cell carcinoma", ("cutaneous squamous cell carcinoma", "squamous cell carcinoma of the skin"),
        may_show=_CANCER, degrees=GRADES,
    ),
    _tissue(
        "Gastric adenocarcinoma",
        ("stomach cancer", "gastric cancer", "adenocarcinoma of the stomach", "gastric carcinoma"),
        region="stomach", may_show=_CANCER, degrees=GRADES,
    ),
    _tissue(
        "Prostate adenocarcinoma",
        ("prostate cancer", "prostatic carcinoma", "adenocarcinoma of the prostate", "prostatic adenocarcinoma"),
        region="prostate", may_show=_CANCER, degrees=("Gleason 6", "Gleason 7", "high-grade"),
    ),
    _tissue("Mucinous carcinoma", ("mucinous adenocarcinoma", "colloid carcinoma"), may_show=_CANCER),
    _tissue(
        "Lymph node metastasis", ("metastatic lymph node", "nodal metastasis", "cancer in a lymph node"),
        region="lymph node", may_show=_CANCER,
    ),
    # What tissue of any organ may show.
    _tissue(
        "Tumour-rich tissue",
        ("high tumour content", "high tumor content", "tumor-rich tissue", "tissue full of tumour cells"),
    ),
    _tissue(
        "Tumour-infiltrating lymphocytes", ("TILs", "tumor-infiltrating lymphocytes", "lymphocytes within the tumour"),
        may_show=("Inflammation", "cancer"), degrees=("dense", "sparse"),
    ),
    _tissue(
        "Necrosis", ("necrotic tissue", "dead tissue", "tissue necrosis"),
        degrees=("focal", "extensive", "coagulative"),
    ),
    _tissue(
        "Mitoses", ("mitotic figures", "dividing cells", "mitosis", "cell division"),
        may_show=("cancer",), degrees=("frequent", "atypical"),
    ),
    _tissue(
        "Dysplasia",
        ("dysplastic epithelium", "epithelial dysplasia", "precancerous change", "intraepithelial neoplasia"),
        degrees=("low-grade", "high-grade", "mild", "severe"),
    ),
    _tissue(
        "Inflammation", ("inflammatory infiltrate", "inflamed tissue", "inflammatory cells"),
        degrees=("acute", "chronic", "mild", "severe", "granulomatous"),
    ),
    _tissue(
        "Fibrosis", ("fibrotic tissue", "scar tissue", "collagen deposition"),
        degrees=("mild", "dense", "advanced"),
    ),
)  # fmt: skip
