"""Statements of electrocardiograms: the names of SCP-ECG as PTB-XL uses them (Wagner et al., Sci Data 2020), and what
is said in their place. Where a statement has a plain meaning in millimetres or milliseconds, that is a word for it."""

from __future__ import annotations

from functools import partial

from m3search.vocabulary.concepts import Finding

_ecg = partial(Finding, on=("ecg",))

_INFARCT = ("Q waves", "ST elevation", "T wave inversion", "abnormal QRS", "ischaemia", "non-specific ST changes")
_ST_T = (
    "ST depression", "T wave inversion", "non-specific ST changes", "non-specific T wave changes",
    "nonspecific ST-T abnormality", "non-diagnostic T wave abnormality", "low amplitude T waves",
)  # fmt: skip
_BLOCKED = (*_ST_T, "abnormal QRS", "Q waves", "intraventricular conduction disturbance")
_LARGE = (
    *_ST_T,
    "voltage criteria for left ventricular hypertrophy",
    "high QRS voltage",
    "left ventricular hypertrophy",
)

RHYTHMS = (
    _ecg(
        "sinus rhythm", ("normal heart rhythm", "regular rhythm", "normal sinus rhythm", "NSR", "regular sinus rhythm"),
        kind="normal",
    ),
    _ecg(
        "normal ECG",
        ("normal tracing", "no abnormality", "normal EKG", "normal electrocardiogram", "unremarkable ECG",
         "ECG within normal limits", "healthy heart tracing"),
        kind="normal", opposite="abnormal ECG",
    ),
    _ecg(
        "sinus tachycardia",
        ("fast heart rate", "rapid heartbeat", "fast sinus rhythm", "rapid heart rate", "sinus tach",
         "heart rate above 100"),
        degrees=("mild", "marked"),
    ),
    _ecg(
        "sinus bradycardia",
        ("slow heart rate", "slow heartbeat", "slow sinus rhythm", "heart rate below 60", "slow pulse"),
        degrees=("mild", "marked"),
    ),
    _ecg(
        "sinus arrhythmia", ("slightly irregular rhythm", "respiratory arrhythmia", "irregular sinus rhythm"),
        degrees=("respiratory",),
    ),
    _ecg(
        "atrial fibrillation",
        ("AF", "AFib", "irregular heartbeat", "a-fib", "irregularly irregular rhythm", "auricular fibrillation",
         "fibrillation of the atria"),
        may_show=_ST_T, degrees=("rapid", "controlled", "new"),
    ),
    _ecg(
        "atrial flutter", ("flutter waves", "AFL", "sawtooth flutter waves", "flutter of the atria"),
        may_show=_ST_T, degrees=("typical", "two-to-one"),
    ),
    _ecg(
        "atrial tachycardia", ("ectopic atrial tachycardia", "focal atrial tachycardia"),
        is_a=("supraventricular tachycardia",),
    ),
    _ecg(
        "supraventricular tachycardia",
        ("SVT", "narrow complex tachycardia"),
        may_show=_ST_T, degrees=("paroxysmal",),
    ),
    _ecg(
        "supraventricular arrhythmia", ("supraventricular rhythm disturbance", "arrhythmia of the atria"),
        may_show=("atrial fibrillation", "atrial flutter", "supraventricular tachycardia", "atrial premature complex"),
    ),
    _ecg(
        "ventricular tachycardia", ("VT", "V-tach", "broad complex tachycardia", "wide complex tachycardia"),
        degrees=("monomorphic", "polymorphic", "non-sustained"),
    ),
    _ecg("ventricular fibrillation", ("VF", "V-fib"), degrees=("coarse",)),
    _ecg(
        "atrial premature complex",
        ("premature atrial contraction", "PAC", "premature atrial contractions", "atrial extrasystole",
         "atrial ectopic beat", "APC", "supraventricular extrasystole"),
        degrees=("frequent", "isolated"),
    ),
    _ecg(
        "blocked premature atrial contraction",
        ("non-conducted premature atrial contraction", "blocked PAC", "blocked atrial extrasystole"),
        is_a=("atrial premature complex",),
    ),
    _ecg(
        "ventricular premature complex",
        ("premature ventricular contraction", "PVC", "premature ventricular contractions", "ventricular extrasystole",
         "ventricular ectopic beat", "VPC", "ventricular ectopy"),
        degrees=("frequent", "isolated", "unifocal", "multifocal"),
    ),
    _ecg(
        "bigeminy", ("bigeminal rhythm", "every second beat premature", "bigeminus"),
        may_show=("ventricular premature complex", "atrial premature complex"),
    ),
    _ecg("atrial escape beat", ("escape beat from the atria", "atrial escape complex")),
    _ecg("junctional rhythm", ("nodal rhythm", "AV junctional rhythm")),
    _ecg(
        "pacemaker",
        ("paced rhythm", "pacemaker rhythm", "artificial pacemaker", "pacing spikes"),
        may_show=(*_BLOCKED, "left bundle branch block"), degrees=("ventricular", "dual-chamber"),
    ),
)  # fmt: skip

# Wall of the left ventricle -> where the ECG shows it.
_WALLS = {
    "inferior": "in leads II, III and aVF",
    "anteroseptal": "in leads V1 to V4",
    "anterior": "in leads V3 and V4",
    "lateral": "in leads I, aVL, V5 and V6",
    "inferolateral": "in leads II, III, aVF, V5 and V6",
    "anterolateral": "in leads I, aVL and V3 to V6",
    "posterior": "with reciprocal changes in leads V1 to V3",
    "inferoposterior": "in leads II, III and aVF, with reciprocal changes in V1 to V3",
    "septal": "in leads V1 and V2",
}

INFARCTIONS = (
    *(
        _ecg(
            f"{wall} myocardial infarction",
            (f"{wall} MI", f"{wall} infarction", f"{wall} heart attack", f"infarct of the {wall} wall"),
            may_show=(*_INFARCT, *_ST_T), places=(leads,), degrees=("acute", "old"),
        )
        for wall, leads in _WALLS.items()
    ),
    _ecg(
        "ST-elevation myocardial infarction", ("STEMI", "ST-segment elevation myocardial infarction"),
        is_a=("ST elevation",), may_show=_INFARCT, degrees=("acute",),
    ),
)  # fmt: skip

ISCHEMIA = (
    *(
        _ecg(
            f"{wall} ischemia",
            (f"{wall} ischaemia", f"ischemic changes in the {wall} leads", f"ischaemic changes in the {wall} leads",
             f"ischaemia of the {wall} wall"),
            may_show=_ST_T, places=(_WALLS[wall],),
        )
        for wall in ("anterior", "lateral", "inferior", "anterolateral", "inferolateral", "anteroseptal")
    ),
    *(
        _ecg(
            f"{wall} subendocardial injury",
            (f"subendocardial injury in the {wall} leads", f"{wall} subendocardial ischaemic injury"),
            may_show=_ST_T, places=(_WALLS[wall],),
        )
        for wall in ("anteroseptal", "anterolateral", "inferior", "lateral")
    ),
    _ecg(
        "non-specific ischemia",
        ("non-specific ischaemia", "nonspecific ischemia", "non-specific ischemic changes",
         "non-specific ischaemic changes"),
        may_show=_ST_T,
    ),
    _ecg(
        "ventricular aneurysm pattern", ("ventricular aneurysm", "persistent ST elevation of a ventricular aneurysm"),
        may_show=("ST elevation", "myocardial infarction", *_INFARCT),
    ),
)  # fmt: skip

CONDUCTION = (
    _ecg(
        "left bundle branch block", ("LBBB", "complete left bundle branch block", "CLBBB", "left bundle block"),
        may_show=_BLOCKED,
    ),
    _ecg(
        "right bundle branch block", ("RBBB", "complete right bundle branch block", "CRBBB", "right bundle block"),
        may_show=_BLOCKED,
    ),
    _ecg(
        "incomplete left bundle branch block", ("incomplete LBBB", "ILBBB", "partial left bundle branch block"),
        may_show=_BLOCKED,
    ),
    _ecg(
        "incomplete right bundle branch block", ("incomplete RBBB", "IRBBB", "partial right bundle branch block"),
        may_show=("abnormal QRS",),
    ),
    _ecg(
        "left anterior fascicular block", ("left anterior hemiblock", "LAFB", "LAHB"),
        may_show=("left axis deviation", "abnormal QRS"),
    ),
    _ecg(
        "left posterior fascicular block", ("left posterior hemiblock", "LPFB", "LPHB"),
        may_show=("right axis deviation", "abnormal QRS"),
    ),
    _ecg(
        "intraventricular conduction disturbance",
        ("intraventricular conduction delay", "IVCD", "wide QRS", "broad QRS complexes",
         "nonspecific intraventricular conduction disorder"),
        may_show=("abnormal QRS",), degrees=("non-specific",),
    ),
    _ecg(
        "first degree AV block",
        ("first-degree heart block", "first degree atrioventricular block", "1st degree AV block"),
        is_a=("prolonged PR interval",),
    ),
    _ecg(
        "prolonged PR interval", ("prolonged PR", "long PR interval", "PR interval above 200 ms", "PR prolongation"),
        may_show=("first degree AV block",), degrees=("markedly",),
    ),
    _ecg(
        "second degree AV block",
        ("second-degree heart block", "Mobitz block", "2nd degree AV block"),
    ),
    _ecg(
        "third degree AV block",
        ("complete heart block", "complete AV block", "third-degree heart block", "3rd degree AV block"),
    ),
    _ecg(
        "Wolff-Parkinson-White syndrome",
        ("WPW", "pre-excitation", "delta waves", "ventricular preexcitation", "accessory pathway"),
        may_show=_BLOCKED,
    ),
    _ecg(
        "prolonged QT interval", ("long QT", "QT prolongation", "prolonged QT", "long QT interval", "prolonged QTc"),
        degrees=("markedly",),
    ),
)  # fmt: skip

FORMS = (
    _ecg(
        "left ventricular hypertrophy",
        ("LVH", "thickened heart muscle", "thick left ventricle", "hypertrophy of the left ventricle",
         "left heart hypertrophy"),
        may_show=_LARGE, degrees=("probable", "marked"),
    ),
    _ecg(
        "voltage criteria for left ventricular hypertrophy",
        ("voltage criteria for LVH", "LVH by voltage", "Sokolow-Lyon criterion met"),
        may_show=("left ventricular hypertrophy", "high QRS voltage"),
    ),
    _ecg(
        "right ventricular hypertrophy", ("RVH", "thick right ventricle", "hypertrophy of the right ventricle"),
        may_show=_ST_T,
    ),
    _ecg("septal hypertrophy", ("thickened septum", "hypertrophy of the septum"), may_show=_LARGE),
    _ecg(
        "left atrial enlargement",
        ("LAE", "left atrial abnormality", "P mitrale", "enlarged left atrium", "left atrial overload"),
    ),
    _ecg(
        "right atrial enlargement",
        ("RAE", "right atrial abnormality", "P pulmonale", "enlarged right atrium", "right atrial overload"),
    ),
    _ecg("high QRS voltage", ("tall QRS complexes", "large QRS amplitude"), may_show=("left ventricular hypertrophy",)),
    _ecg("low QRS voltage", ("low voltage", "small QRS complexes", "low amplitude QRS", "low QRS voltages")),
    _ecg("left axis deviation", ("leftward axis", "leftward QRS axis")),
    _ecg("right axis deviation", ("rightward axis", "rightward QRS axis")),
    _ecg(
        "abnormal QRS", ("QRS abnormality", "abnormal QRS complexes", "abnormal ventricular depolarisation"),
        may_show=("Q waves", "conduction disorder", "myocardial infarction"),
    ),
    _ecg(
        "Q waves", ("pathological Q waves", "pathologic Q waves", "abnormal Q waves"),
        may_show=("myocardial infarction", "abnormal QRS"),
    ),
    _ecg(
        "ST elevation", ("raised ST segment", "ST-segment elevation", "elevated ST segments"),
        may_show=("myocardial infarction",),
    ),
    _ecg(
        "ST depression", ("depressed ST segment", "ST-segment depression", "ST segment lowering"),
        may_show=("ischaemia", "non-specific ST changes"),
    ),
    _ecg(
        "T wave inversion", ("inverted T waves", "negative T waves", "TWI", "T-wave inversion"),
        may_show=("ischaemia",),
    ),
    _ecg("low amplitude T waves", ("flat T waves", "flattened T waves", "small T waves")),
    _ecg(
        "non-specific ST changes",
        ("nonspecific ST segment changes", "non-specific ST abnormality", "ST segment abnormality"),
        may_show=("ST depression", "ischaemia"),
    ),
    _ecg(
        "non-specific T wave changes",
        ("nonspecific T wave changes", "non-specific T abnormality", "T wave abnormality"),
        may_show=("T wave inversion", "low amplitude T waves", "ischaemia"),
    ),
    _ecg(
        "non-diagnostic T wave abnormality",
        ("nondiagnostic T abnormalities", "non-diagnostic T abnormality", "T wave abnormality"),
        may_show=("T wave inversion", "low amplitude T waves"),
    ),
    _ecg(
        "nonspecific ST-T abnormality",
        ("non-specific ST-T changes", "ST-T abnormality", "nonspecific ST-T wave changes"),
        may_show=_ST_T,
    ),
    _ecg("digitalis effect", ("digoxin effect", "digitalis changes", "scooped ST segments"), may_show=_ST_T),
    _ecg(
        "electrolyte disturbance or drug effect",
        ("electrolyte or drug effect", "effect of electrolytes or drugs"),
        may_show=(*_ST_T, "hyperkalaemia", "prolonged QT interval"),
    ),
    _ecg("hyperkalaemia", ("hyperkalemia", "tented T waves", "high potassium"), degrees=("severe",)),
    _ecg("pericarditis", ("acute pericarditis", "inflammation of the pericardium"), may_show=("ST elevation",)),
    _ecg(
        "Brugada pattern", ("Brugada syndrome",),
        may_show=("right bundle branch block", "ST elevation"),
    ),
    _ecg(
        "early repolarisation", ("early repolarization", "J-point elevation", "benign early repolarisation"),
        may_show=("ST elevation",),
    ),
)  # fmt: skip

ECG = RHYTHMS + INFARCTIONS + ISCHEMIA + CONDUCTION + FORMS
