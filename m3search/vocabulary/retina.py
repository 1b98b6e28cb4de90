"""Findings of fundus photographs. Grades of diabetic retinopathy are those of the international clinical scale
(Wilkinson et al., Ophthalmology 2003)."""

from __future__ import annotations

from functools import partial

from m3search.vocabulary.concepts import Finding

_eye = partial(Finding, on=("retina",))

EYES = ("in the left eye", "in the right eye")
QUADRANTS = ("in all quadrants", "along the temporal arcade", "at the posterior pole", "in the superior retina")
_BLEEDING = ("Retinal haemorrhage", "Hard exudates", "Cotton-wool spots")

RETINA = (
    _eye(
        "No diabetic retinopathy",
        ("normal retina", "healthy eye", "normal fundus", "no retinopathy", "healthy retina",
         "no signs of diabetic retinopathy"),
        kind="normal", opposite="diabetic retinopathy",
    ),
    _eye(
        "Mild diabetic retinopathy",
        ("mild non-proliferative diabetic retinopathy", "early retinopathy", "mild NPDR", "early diabetic eye disease",
         "mild nonproliferative diabetic retinopathy"),
        may_show=("Microaneurysms", *_BLEEDING), places=EYES,
    ),
    _eye(
        "Moderate diabetic retinopathy",
        ("moderate NPDR", "moderate non-proliferative diabetic retinopathy",
         "moderate nonproliferative diabetic retinopathy", "moderate diabetic eye disease"),
        may_show=("Microaneurysms", *_BLEEDING), places=EYES,
    ),
    _eye(
        "Severe diabetic retinopathy",
        ("severe NPDR", "severe non-proliferative diabetic retinopathy", "preproliferative diabetic retinopathy",
         "severe nonproliferative diabetic retinopathy", "pre-proliferative retinopathy"),
        may_show=("Microaneurysms", *_BLEEDING, "Venous beading"), places=EYES,
    ),
    _eye(
        "Proliferative diabetic retinopathy",
        ("PDR", "neovascularisation", "neovascularization", "new vessels on the retina", "proliferative retinopathy",
         "retinal neovascularisation", "abnormal new blood vessels in the eye"),
        may_show=("Microaneurysms", *_BLEEDING, "Venous beading", "Vitreous haemorrhage", "Laser scars"), places=EYES,
        degrees=("active", "high-risk", "treated"),
    ),
    _eye(
        "Diabetic maculopathy",
        ("diabetic macular edema", "diabetic macular oedema", "hard exudates at the macula", "macular oedema",
         "macular edema", "maculopathy", "DME", "diabetic macular disease", "exudates near the fovea"),
        may_show=("Hard exudates", "Retinal haemorrhage", "Microaneurysms"), places=EYES, degrees=("mild", "severe"),
    ),
    _eye(
        "Advanced diabetic eye disease",
        ("end-stage diabetic eye disease", "advanced proliferative eye disease",
         "late complications of diabetic retinopathy"),
        may_show=("Vitreous haemorrhage", "Proliferative diabetic retinopathy", "Laser scars", *_BLEEDING), places=EYES,
    ),
    # Single lesions.
    _eye(
        "Microaneurysms", ("retinal microaneurysms", "small red dots of the retina"),
        may_show=("diabetic retinopathy",), places=QUADRANTS, degrees=("a few", "many"),
    ),
    _eye(
        "Retinal haemorrhage",
        ("retinal hemorrhage", "retinal haemorrhages", "retinal hemorrhages", "bleeding in the retina",
         "retinal bleeding", "blood spots in the eye"),
        may_show=("diabetic retinopathy", "Microaneurysms"), places=QUADRANTS, degrees=("extensive", "scattered"),
    ),
    _eye(
        "Hard exudates",
        ("exudates", "retinal exudates", "lipid deposits in the retina", "yellow exudates", "lipid exudates"),
        may_show=("diabetic retinopathy", "Diabetic maculopathy"),
        places=("temporal to the fovea", "along the temporal arcade"), degrees=("scattered", "circinate"),
    ),
    _eye(
        "Cotton-wool spots",
        ("soft exudates", "cotton wool spots", "nerve fibre layer infarcts", "nerve fiber layer infarcts"),
        may_show=("diabetic retinopathy", "Hypertensive retinopathy"), places=QUADRANTS, degrees=("a few", "multiple"),
    ),
    _eye("Venous beading", ("beaded retinal veins",), may_show=("diabetic retinopathy",), places=QUADRANTS),
    _eye(
        "Vitreous haemorrhage", ("vitreous hemorrhage", "bleeding into the vitreous", "blood in the vitreous"),
        places=EYES, may_show=("Proliferative diabetic retinopathy",), degrees=("dense",),
    ),
    _eye(
        "Laser scars", ("photocoagulation scars", "panretinal photocoagulation", "laser-treated retina"),
        may_show=("Proliferative diabetic retinopathy",), places=("in the periphery", "in all quadrants"),
    ),
    # Other diseases.
    _eye(
        "Drusen", ("yellow deposits under the retina", "retinal drusen"),
        may_show=("Age-related macular degeneration",), places=("at the macula", "around the fovea"),
        degrees=("a few", "many", "large", "soft", "hard"),
    ),
    _eye(
        "Age-related macular degeneration",
        ("AMD", "ARMD", "macular degeneration", "age related maculopathy", "senile macular degeneration"),
        may_show=("Drusen", "Retinal haemorrhage"), places=EYES, degrees=("dry", "wet", "early", "late", "neovascular"),
    ),
    _eye(
        "Glaucomatous cupping",
        ("glaucoma", "cupped optic disc", "large cup-to-disc ratio", "glaucomatous optic neuropathy",
         "optic disc cupping", "optic disk cupping", "enlarged optic cup"),
        places=EYES, degrees=("advanced", "suspected"),
    ),
    _eye(
        "Papilloedema",
        ("papilledema", "swollen optic disc", "optic disc swelling", "optic disc oedema", "optic disc edema",
         "swollen optic nerve head"),
        may_show=("Retinal haemorrhage",), places=("on both sides",),
    ),
    _eye("Optic atrophy", ("pale optic disc", "optic disc pallor"), places=EYES),
    _eye(
        "Arteriovenous nicking", ("AV nicking", "AV nipping", "arteriovenous nipping"),
        may_show=("Hypertensive retinopathy",), places=QUADRANTS,
    ),
    _eye(
        "Hypertensive retinopathy",
        ("retinal changes of high blood pressure", "hypertensive retinal changes", "retinopathy of hypertension"),
        may_show=("Arteriovenous nicking", "Cotton-wool spots", "Retinal haemorrhage", "Hard exudates"), places=EYES,
        degrees=("mild", "malignant"),
    ),
    _eye(
        "Retinal vein occlusion", ("RVO", "blocked retinal vein", "retinal venous occlusion"),
        may_show=_BLEEDING, places=EYES, degrees=("central", "branch"),
    ),
    _eye("Retinal artery occlusion", ("RAO", "blocked retinal artery"), places=EYES, degrees=("central", "branch")),
    _eye("Retinal detachment", ("detached retina",), places=EYES, degrees=("rhegmatogenous", "partial")),
    _eye("Epiretinal membrane", ("macular pucker", "cellophane maculopathy"), places=EYES),
    _eye("Macular hole", ("hole in the macula",), places=EYES, degrees=("full-thickness",)),
    _eye(
        "Pathological myopia",
        ("myopic degeneration", "pathologic myopia", "degenerative myopia", "high myopia changes"),
        places=EYES,
    ),
    _eye("Cataract", ("clouded lens", "lens opacity"), places=EYES, degrees=("dense",)),
)  # fmt: skip
